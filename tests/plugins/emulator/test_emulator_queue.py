"""The queue's state machine, with a clock in hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fakes.clock import Clock
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from router_plugins.emulator.errors import ServiceError
from router_plugins.emulator.queue import Queue
from router_plugins.emulator.queued import Counts, QueueAttributes


def queue(clock: Callable[[], float], **attributes: int) -> Queue:
    return Queue("q", QueueAttributes(**attributes), clock)  # type: ignore[arg-type]


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(ServiceError) as caught:
        call()
    return caught.value.code


def test_a_received_message_is_hidden_until_its_visibility_timeout_is_over() -> None:
    clock = Clock()
    q = queue(clock)
    q.send("a")
    first = q.receive()[0]
    assert q.receive() == []
    assert first.next_visible == clock.now + 30
    clock.now += 30
    second = q.receive()[0]
    assert second.message == first.message
    assert second.dequeues == 2
    assert second.handle != first.handle
    assert second.first_dequeued == first.first_dequeued


def test_only_the_newest_handle_deletes() -> None:
    clock = Clock()
    q = queue(clock)
    q.send("a")
    old = q.receive()[0].handle
    clock.now += 30
    new = q.receive()[0].handle
    assert code_of(lambda: q.delete(old)) == "MessageNotExist"
    q.delete(new)
    clock.now += 1000
    assert q.receive() == []
    assert code_of(lambda: q.delete(new)) == "MessageNotExist"


def test_an_expired_handle_deletes_nothing_even_before_the_message_is_received_again() -> None:
    clock = Clock()
    q = Queue("q", QueueAttributes(), clock, lost="ReceiptHandleError")
    q.send("a")
    handle = q.receive()[0].handle
    clock.now += 30
    assert code_of(lambda: q.delete(handle)) == "ReceiptHandleError"
    assert q.counts() == Counts(1, 0, 0)


def test_a_handle_that_was_never_given_out_is_an_error() -> None:
    assert code_of(lambda: queue(Clock()).delete("no such thing")) == "ReceiptHandleError"


def test_changing_the_visibility_counts_from_now_and_gives_a_new_handle() -> None:
    clock = Clock()
    q = queue(clock)
    q.send("a")
    old = q.receive()[0]
    clock.now += 20
    new = q.change_visibility(old.handle, 30)
    assert new.next_visible == clock.now + 30
    assert code_of(lambda: q.delete(old.handle)) == "MessageNotExist"
    clock.now += 29
    assert q.receive() == []
    q.delete(new.handle)


def test_changing_the_visibility_to_the_same_moment_keeps_one_message() -> None:
    q = queue(Clock())
    q.send("a")
    lease = q.receive()[0]
    for _ in range(3):
        lease = q.change_visibility(lease.handle, 30)
    assert q.counts() == Counts(0, 1, 0)


def test_messages_come_by_priority_and_then_by_age() -> None:
    q = queue(Clock())
    for body, priority in (("late", 16), ("b", 8), ("first", 1), ("c", 8)):
        q.send(body, priority=priority)
    assert [lease.message.body for lease in q.receive(16)] == ["first", "b", "c", "late"]


def test_a_delayed_message_is_counted_as_delayed_and_comes_when_its_delay_is_over() -> None:
    clock = Clock()
    q = queue(clock, delay_seconds=10)
    q.send("by the queue")
    q.send("by the message", delay=5)
    q.send("at once", delay=0)
    assert q.counts() == Counts(1, 0, 2)
    assert q.next_visible() == clock.now + 5
    clock.now += 5
    assert [lease.message.body for lease in q.receive(16)] == ["by the message", "at once"]
    clock.now += 5
    assert q.receive(16)[0].message.body == "by the queue"


def test_peeking_changes_nothing() -> None:
    q = queue(Clock())
    q.send("a")
    peeked = q.peek(2)
    assert [(lease.handle, lease.dequeues) for lease in peeked] == [("", 0)]
    assert peeked[0].first_dequeued == peeked[0].message.enqueued
    assert q.receive()[0].dequeues == 1


def test_a_message_beyond_its_retention_is_gone() -> None:
    clock = Clock()
    q = queue(clock, message_retention_period=60)
    q.send("a")
    clock.now += 60
    assert q.peek() == []
    assert q.receive() == []


def test_fast_shortens_visibility_and_delay() -> None:
    clock = Clock()
    q = Queue("q", QueueAttributes(), clock, fast=100)
    q.send("a", delay=100)
    clock.now += 1
    assert q.receive()[0].next_visible == pytest.approx(clock.now + 0.3)


def test_ending_a_lease_by_hand_makes_the_message_visible_and_its_handle_useless() -> None:
    q = queue(Clock())
    q.send("a")
    q.send("b")
    first, _ = q.receive(2)
    assert q.expire(first.handle) == 1
    assert code_of(lambda: q.delete(first.handle)) == "MessageNotExist"
    assert q.counts() == Counts(1, 1, 0)
    assert q.expire() == 1


@pytest.mark.parametrize("size", [1025, 70000])
def test_a_message_over_the_limit_is_refused(size: int) -> None:
    q = queue(Clock(), maximum_message_size=1024)
    assert code_of(lambda: q.send("x" * size)) == "InvalidArgument"
    assert code_of(lambda: q.send("é" * 513)) == "InvalidArgument"
    q.send("é" * 512)


def test_restored_contents_are_all_there_with_what_was_leased_visible_later() -> None:
    clock = Clock()
    q = queue(clock)
    for body in "abc":
        q.send(body)
    q.receive()
    q.delete(q.receive()[0].handle)
    again = queue(clock)
    again.restore(q.contents())
    assert [lease.message.body for lease in again.receive(16)] == ["c"]
    clock.now += 30
    assert sorted(lease.message.body for lease in again.receive(16)) == ["a", "c"]


class QueueModel(RuleBasedStateMachine):
    """Whatever is done in whatever order: a message is in one place, and only a delete or age removes it."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.queue = queue(self.clock, visibility_timeout=10)
        self.sent = 0
        self.deleted = 0
        self.handles: list[str] = []

    @rule(delay=st.integers(0, 20), priority=st.integers(1, 16))
    def send(self, delay: int, priority: int) -> None:
        self.queue.send(str(self.sent), delay=delay, priority=priority)
        self.sent += 1

    @rule(count=st.integers(1, 16))
    def receive(self, count: int) -> None:
        self.handles += [lease.handle for lease in self.queue.receive(count)]

    @rule(seconds=st.floats(0, 15))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @precondition(lambda self: bool(self.handles))
    @rule(data=st.data(), seconds=st.integers(1, 20))
    def change(self, data: st.DataObject, seconds: int) -> None:
        handle = data.draw(st.sampled_from(self.handles))
        try:
            self.handles.append(self.queue.change_visibility(handle, seconds).handle)
        except ServiceError as error:
            assert error.code == "MessageNotExist"  # noqa: PT017 - either outcome is right

    @precondition(lambda self: bool(self.handles))
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        try:
            self.queue.delete(data.draw(st.sampled_from(self.handles)))
        except ServiceError as error:
            assert error.code == "MessageNotExist"  # noqa: PT017 - either outcome is right
        else:
            self.deleted += 1

    @precondition(lambda self: bool(self.handles))
    @rule(data=st.data())
    def expire(self, data: st.DataObject) -> None:
        self.queue.expire(data.draw(st.sampled_from(self.handles)))

    @invariant()
    def every_message_is_in_one_place(self) -> None:
        counts = self.queue.counts()
        assert counts.active + counts.inactive + counts.delayed == self.sent - self.deleted
        assert len(self.queue.contents()) == self.sent - self.deleted
        assert min(counts.active, counts.inactive, counts.delayed) >= 0


TestQueueModel = QueueModel.TestCase
TestQueueModel.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
