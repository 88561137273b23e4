"""Generated from proto/exchange/v1 by `make gen`; nothing in this folder is written by hand."""
