"""The Python SDK of Signal Exchange: publish, subscribe, verify and match.

    async with ExchangeClient(ClientConfig.load(path)) as client:
        async with client.publisher("my.exchange/uk-elections") as publisher:
            outcomes = await publisher.publish([Signal(...)])
        async with contextlib.aclosing(client.subscribe("my.exchange/uk-elections")) as deliveries:
            async for delivery in deliveries:
                matcher.add(delivery)

Everything that comes from a hub is verified before it is handed on. Errors are those of `exchange.errors`; a hub that
cannot be trusted is `Distrusted`. Reconnections are told to the standard logger "exchange_client".
"""

from __future__ import annotations

from exchange_client.account_index import AccountIndex
from exchange_client.account_indexes import AccountIndexes
from exchange_client.account_indexing import Own, Progress
from exchange_client.account_matches import AccountMatch, AccountMatches
from exchange_client.account_pseudonyms import AccountPseudonyms
from exchange_client.account_signals import AccountSignals, NamingSignal
from exchange_client.account_sources import accounts_of
from exchange_client.client import ExchangeClient
from exchange_client.config import ClientConfig
from exchange_client.content_matches import content_matches
from exchange_client.delivery import Delivery, ReceivedSignal, Signals
from exchange_client.following import Ended, Flagged, Released, effect_of
from exchange_client.identity import IdentityState, Renew
from exchange_client.in_flight import Outcome, Said
from exchange_client.match import ContentMatch, Match, Opinions
from exchange_client.matcher import Matcher
from exchange_client.matcher_file import MatcherFile
from exchange_client.outbox import Outbox
from exchange_client.publisher import Publisher
from exchange_client.receipt import Receipt
from exchange_client.records import Indicator, VideoFrame
from exchange_client.referrals import MemberContacts, NoteReport, ReferralReport, ReferralStep
from exchange_client.reject import RejectFile
from exchange_client.signals import Signal
from exchange_client.sync import SyncExchangeClient
from exchange_client.verify import BadEntry, Distrusted, FeedVerifier
from exchange_client.wire import CommunitySummary, Filter, MemberSummary, WhoAmI

__all__ = [
    "AccountIndex",
    "AccountIndexes",
    "AccountMatch",
    "AccountMatches",
    "AccountPseudonyms",
    "AccountSignals",
    "BadEntry",
    "ClientConfig",
    "CommunitySummary",
    "ContentMatch",
    "Delivery",
    "Distrusted",
    "Ended",
    "ExchangeClient",
    "FeedVerifier",
    "Filter",
    "Flagged",
    "IdentityState",
    "Indicator",
    "Match",
    "Matcher",
    "MatcherFile",
    "MemberContacts",
    "MemberSummary",
    "NamingSignal",
    "NoteReport",
    "Opinions",
    "Outbox",
    "Outcome",
    "Own",
    "Progress",
    "Publisher",
    "Receipt",
    "ReceivedSignal",
    "ReferralReport",
    "ReferralStep",
    "RejectFile",
    "Released",
    "Renew",
    "Said",
    "Signal",
    "Signals",
    "SyncExchangeClient",
    "VideoFrame",
    "WhoAmI",
    "accounts_of",
    "content_matches",
    "effect_of",
]
