"""The normal form of a telephone number: E.164, by phonenumbers (Google's libphonenumber).

Profile 1: a number that is possible in its country's plan by its length. Whether it is assigned is not asked: that
table changes every fortnight, and a pseudonym must not. Without a ``+`` the caller names the country that it was
dialled in. An extension is refused: it is somebody else at the same number.

What must stay true: the function is idempotent; any text gives a number or `Rejected`; no message repeats the number.
The version of the metadata belongs to the key epoch.
"""

from __future__ import annotations

import phonenumbers

from exchange.errors import Reason, Rejected

MAX_PHONE_CHARACTERS = 64


def normal_phone(text: str, *, country: str | None = None) -> str:
    """Return a number as E.164, such as +447700900123. ``country`` is ISO 3166's two letters, for a number without +.

    Raises `Rejected`: not a number, not possible there, with an extension, or without a country.
    """
    if len(text) > MAX_PHONE_CHARACTERS:
        raise Rejected(Reason.TOO_LARGE, f"a telephone number may have {MAX_PHONE_CHARACTERS} characters")
    if country is not None and country not in phonenumbers.SUPPORTED_REGIONS:
        raise Rejected(Reason.INVALID, "this country is not known", hint="two capital letters of ISO 3166, such as GB")
    try:
        number = phonenumbers.parse(text, country)
    except phonenumbers.NumberParseException as error:
        if error.error_type == phonenumbers.NumberParseException.INVALID_COUNTRY_CODE and country is None:
            raise Rejected(
                Reason.INVALID, "this telephone number has no country", hint="write it with + and the country's code"
            ) from None
        raise Rejected(Reason.INVALID, "this is not a telephone number") from None
    if number.extension:
        raise Rejected(Reason.INVALID, "a telephone number must not carry an extension")
    # Not one that can be dialled within its own district alone.
    if phonenumbers.is_possible_number_with_reason(number) != phonenumbers.ValidationResult.IS_POSSIBLE:
        raise Rejected(Reason.INVALID, "no telephone number has this length in its country")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
