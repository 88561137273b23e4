"""The hub's view of a community's key epochs: which pseudonyms may be published, and until when."""

from __future__ import annotations

from exchange.domain.key_epochs import FORMAT, KeyEpochs, KeyEpochsRestore, key_epoch_rows
from exchange.domain.kinds import Kind
from exchange.views.followed import FollowedFold
from exchange.views.replay import Recipe

KEY_EPOCHS = Recipe(
    "key_epochs", FORMAT, KeyEpochs, key_epoch_rows, KeyEpochsRestore, kinds=frozenset({Kind.KEY_EPOCH})
)
KeyEpochsView = FollowedFold[KeyEpochs]
