"""The cases of the kit, each with the peers' bug that it is named after: docs/conformance.md lists them."""

from __future__ import annotations

from exchange.errors import InvalidStatement, VerificationFailed
from tests.conformance import cases_of_audience as audience
from tests.conformance import cases_of_life as life
from tests.conformance import cases_of_the_feed as feed
from tests.conformance import mutants
from tests.conformance.case import Bug, Case

CASES = (
    Case(
        "withdrawn-must-vanish",
        "python-threatexchange, StopNCII client (as of 1.2)",
        "a case that its victim has withdrawn stays in the index",
        life.withdrawn_vanishes,
        (Bug(mutants.matcher_that_only_adds), Bug(mutants.hub_that_filters_retractions, VerificationFailed)),
    ),
    Case(
        "equal-timestamp-paging-skips",
        "OpenCTI #4537",
        "where many objects share a time, pages skip some of them",
        feed.equal_times_skip_nothing,
        (Bug(mutants.pages_cut_by_time, VerificationFailed),),
    ),
    Case(
        "filter-bleeds-on-second-pull",
        "OpenCTI #10090",
        "the second pull returns objects outside of the filter",
        feed.the_filter_holds_for_every_pull,
        (Bug(mutants.filter_of_the_first_pull),),
    ),
    Case(
        "cut-over-drops-or-reorders",
        "Jetstream (legacy) #42",
        "where catching up meets live, events are dropped or come in another order",
        feed.catching_up_meets_live,
        (
            Bug(mutants.cut_over_that_skips, VerificationFailed),
            Bug(mutants.cut_over_that_reorders, VerificationFailed),
        ),
    ),
    Case(
        "stream-goes-back-in-time",
        "OpenCTI #2623",
        "after a reconnection the stream repeats what was consumed",
        feed.a_stream_never_goes_back,
        (Bug(mutants.stream_that_begins_again),),
    ),
    Case(
        "resumes-at-start-time",
        "OpenCTI client-python #276",
        "a client that starts again listens from its start time, not from the last id that it had",
        feed.it_goes_on_from_the_last_entry,
        (Bug(mutants.subscriber_that_resumes_at_the_present),),
    ),
    Case(
        "missed-between-two-readiness-points",
        "OpenCTI #13254",
        "events are missed that come between the start of the API and the start of what processes them",
        feed.nothing_falls_between_two_kinds_of_ready,
        (Bug(mutants.view_that_begins_where_it_wakes, InvalidStatement),),
    ),
    Case(
        "silent-stall",
        "Jetstream (legacy) #48",
        "the server goes silent, and the client waits for ever",
        feed.silence_is_noticed,
        (Bug(mutants.subscriber_that_waits_for_ever),),
    ),
    Case(
        "stall-that-looks-healthy",
        "OpenCTI connectors #7604",
        "nothing is ingested any more, and everything looks healthy",
        feed.a_beating_stream_without_entries_is_noticed,
        (Bug(mutants.subscriber_that_trusts_the_beat),),
    ),
    Case(
        "empty-audience-shares-with-all",
        "MISP #4200",
        "a sharing group without members publishes to everyone",
        audience.an_empty_audience_is_an_error,
        (Bug(mutants.empty_audience_is_everyone),),
    ),
    Case(
        "shared-to-those-not-eligible",
        "MISP #1720, #1721",
        "an organisation outside of the sharing group receives the event",
        audience.only_the_audience_reads,
        (Bug(mutants.audience_that_is_not_asked), Bug(mutants.pages_that_forget_the_audience)),
    ),
    Case(
        "shared-to-other-communities",
        "CSP #22",
        "an instance that is not eligible receives what others share",
        audience.who_is_not_a_member_reads_nothing,
        (Bug(mutants.community_that_is_not_asked),),
    ),
    Case(
        "narrowed-audience-not-recalled",
        "MISP #4784",
        "who is shut out later keeps what it was given before",
        life.a_narrowed_audience_is_recalled,
        (Bug(mutants.matcher_that_needs_the_record_to_replace),),
    ),
    Case(
        "delete-never-propagates",
        "MISP #4681",
        "what one server deletes stays on the others, by design",
        life.a_delete_propagates,
        (Bug(mutants.eraser_that_notes_and_keeps), Bug(mutants.matcher_that_only_adds)),
    ),
    Case(
        "removed-label-still-there",
        "MISP #2223",
        "the removal of a tag is not synchronised: an event ends with two contradicting ones",
        life.a_removed_label_is_gone,
        (Bug(mutants.matcher_that_merges),),
    ),
    Case(
        "duplicate-after-reconnect",
        "MISP #10881",
        "after a connection was lost the same is taken again and again",
        life.a_repeat_is_no_duplicate,
        (Bug(mutants.hub_that_knows_no_repeats),),
    ),
    Case(
        "upper-case-hash-never-matches",
        "python-threatexchange (as of 1.2)",
        "a hash in upper case is accepted, and indexed in a form that nothing matches",
        life.an_upper_case_hash_is_never_kept,
        (Bug(mutants.text_form_that_keeps_what_it_gets),),
    ),
    Case(
        "future-cursor-accepted",
        "AT Protocol, which names the error FutureCursor",
        "where it is not refused, such a cursor starts live, and what came before is lost without a word",
        feed.a_cursor_in_the_future_is_refused,
        (Bug(mutants.hub_that_clamps_cursors, VerificationFailed),),
    ),
)


def row(case: Case) -> str:
    """Return a case as it stands in docs/conformance.md."""
    names = ", ".join(f"`{bug.name}`" for bug in case.bugs)
    return f"| `{case.name}` | {case.peer}: {case.happens} | {case.promise} | {names} |"
