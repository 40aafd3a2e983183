"""What is predicted of the items that are still to be submitted."""

from __future__ import annotations

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smarty_async.transport.batcher import SHORT_BACKOFF, Forecast, Outlook
from smarty_async.transport.body import MemoryBody


def body() -> MemoryBody:
    return MemoryBody(b"", "image/jpeg")


def test_nothing_is_expected_at_first() -> None:
    forecast = Forecast()
    forecast.in_flight = 48
    assert forecast.outlook() == Outlook(more=False, coming=0)


def test_announced_items_are_waited_for_and_counted_until_the_announcement_ends() -> None:
    forecast = Forecast()
    for _ in range(3):
        forecast.announce()
    assert forecast.outlook() == Outlook(more=True, coming=3)
    forecast.fulfil()
    forecast.fulfil()
    assert forecast.outlook() == Outlook(more=True, coming=1)
    forecast.fulfil()
    assert forecast.outlook() == Outlook(more=False, coming=0)


def test_an_unknown_number_is_not_waited_for_but_leaves_the_number_to_come_unknown() -> None:
    forecast = Forecast()
    forecast.announce_unknown()
    assert forecast.outlook() == Outlook(more=False, coming=None)
    forecast.announce()
    assert forecast.outlook() == Outlook(more=True, coming=None)
    forecast.fulfil_unknown()
    assert forecast.outlook() == Outlook(more=True, coming=1)


def test_what_cannot_be_announced_yet_is_counted_and_not_waited_for() -> None:
    photos = [1, 2, 3]
    forecast = Forecast(later=lambda: len(photos))
    assert forecast.outlook() == Outlook(more=False, coming=3)
    photos.pop()
    forecast.announce()
    assert forecast.outlook() == Outlook(more=True, coming=3)
    forecast.announce_unknown()
    assert forecast.outlook() == Outlook(more=True, coming=None)


@pytest.mark.parametrize(("seconds", "waited_for"), [(SHORT_BACKOFF, True), (SHORT_BACKOFF * 1.01, False)])
def test_only_a_backoff_that_is_short_beside_a_request_is_waited_for(seconds: float, *, waited_for: bool) -> None:
    forecast = Forecast()
    short = forecast.start_backoff(seconds, request_seconds=1.0)
    assert forecast.outlook().more is waited_for
    forecast.end_backoff(short=short)
    assert not forecast.outlook().more


def test_an_item_in_backoff_is_counted_until_it_is_submitted_again() -> None:
    forecast, image = Forecast(), body()
    forecast.submitted(image)
    forecast.replied(image, returns=True)
    assert forecast.outlook() == Outlook(more=False, coming=1)
    forecast.submitted(image)
    assert forecast.outlook() == Outlook(more=False, coming=0)


def test_an_item_whose_body_is_dropped_is_not_expected_any_more() -> None:
    forecast, image = Forecast(), body()
    forecast.replied(image, returns=True)
    del image
    gc.collect()
    assert forecast.outlook().coming == 0


@given(replies=st.lists(st.booleans(), min_size=1), in_flight=st.integers(0, 1000))
def test_as_many_items_in_flight_are_expected_back_as_came_back_before(*, replies: list[bool], in_flight: int) -> None:
    forecast, image = Forecast(), body()
    for returns in replies:
        forecast.replied(image, returns=returns)
        forecast.submitted(image)
    forecast.in_flight = in_flight
    assert forecast.outlook() == Outlook(returning=in_flight * sum(replies) // len(replies))
