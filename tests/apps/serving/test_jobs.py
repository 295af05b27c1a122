"""The limits of jobs and of what an address may spend, and when jobs end, on a clock that the tests set."""

import types

import pytest

from jaxgen.apps.demo.options import DemoOptions
from jaxgen.apps.serving import jobs
from jaxgen.apps.serving.jobs import Budget, Jobs, Refused
from jaxgen.errors import UserError


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def steps(total):
    return (types.SimpleNamespace(done=done, total=total, compiling=None) for done in range(total + 1))


def jobs_of(clock, **options):
    """Return jobs that stay in the queue until they end."""
    return Jobs(DemoOptions(**options), lambda event: bool(event), clock)


def test_a_budget_is_refilled_over_a_minute(clock):
    budget = Budget(120, 'calls', clock)
    budget.spend('here', 100)
    with pytest.raises(Refused, match='30 calls, but 20 of the 120 .* wait 5 seconds') as refused:
        budget.require('here', 30)
    assert refused.value.status == 429
    budget.require('there', 120)
    clock.now += 5
    budget.require('here', 30)
    clock.now += 60
    assert budget.left('here') == 120


def test_a_job_over_the_budget_says_how_much_is_left(clock):
    many = jobs_of(clock, calls_per_job=50, calls_per_minute=60)
    job, _ = many.admit('tab', 'here', True)
    with pytest.raises(UserError, match='51 network calls .images x steps., but a job may take at most 50'):
        job.start(51, 'images')
    job.start(50, 'images')
    list(job.paid(steps(5), 50))
    with pytest.raises(UserError, match='but 10 of the 60 .* wait 10 seconds'):
        job.start(20, 'images')


def test_only_the_steps_taken_are_paid(clock):
    many = jobs_of(clock, calls_per_job=50, calls_per_minute=50)
    job, _ = many.admit('tab', 'here', True)
    job.start(50, 'images')
    taken = job.paid(steps(5), 50)
    assert [next(taken).done, next(taken).done] == [0, 1]
    assert many.budget.left('here') == 40


def test_the_newest_job_of_a_tab_replaces_the_one_before(clock):
    many = jobs_of(clock)
    first, _ = many.admit('tab', 'here', True)
    _, ending = many.admit('tab', 'here', False)
    assert ending == []
    _, ending = many.admit('other', 'here', True)
    assert ending == []
    _, ending = many.admit('tab', 'here', True)
    assert ending == [first]


def test_an_address_has_few_jobs_and_hinders_no_other(clock):
    many = jobs_of(clock, jobs_per_address=2)
    with many.listening('a'), many.listening('b'):
        first, _ = many.admit('a', 'here', True)
        many.admit('b', 'here', True)
        clock.now += 1000
        many.give_up_unheard()
        with pytest.raises(Refused, match='2 jobs of your address'):
            many.admit('c', 'here', True)
        newer, ending = many.admit('a', 'here', True)  # replaces its own
        assert ending == [first]
        many.admit('c', 'there', True)
        first.ended = newer.ended = 'done'
        many.admit('d', 'here', True)


def test_a_job_without_a_listener_makes_room(clock):
    many = jobs_of(clock, jobs_per_address=1)
    silent, _ = many.admit('a', 'here', True)
    with pytest.raises(Refused):
        many.admit('b', 'here', True)
    clock.now += 1.1 * jobs.SHORT_GRACE
    assert many.admit('b', 'here', True)[1] == [silent]


def test_a_job_ends_after_a_while_without_a_listener(clock):
    many = jobs_of(clock)
    heard, _ = many.admit('heard', 'here', True)
    silent, _ = many.admit('silent', 'here', True)
    left, _ = many.admit('left', 'here', True)
    with many.listening('heard'):
        with many.listening('left'):
            clock.now += 10 * jobs.GRACE
            assert many.give_up_unheard() == ['silent']
        clock.now += 0.9 * jobs.GRACE
        assert many.give_up_unheard() == []
        clock.now += 0.2 * jobs.GRACE
        assert many.give_up_unheard() == ['left']
    heard.require_live()
    for job in (silent, left):
        with pytest.raises(UserError, match='the browser tab .* is gone'):
            list(job.paid(steps(1), 0))


def test_a_job_that_left_the_queue_stops(clock):
    job, _ = jobs_of(clock).admit('tab', 'here', True)
    job.require_live()
    job.event = ''
    with pytest.raises(UserError, match='is gone'):
        job.require_live()


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        ({'hosts': ('http://lab.example.org',)}, 'hosts=http://lab.example.org must be a name'),
        ({'hosts': ('lab.example.org:80',)}, 'without a port'),
        ({'proxies': ('*',)}, 'proxies'),
        ({'calls_per_job': 9, 'calls_per_minute': 8}, 'calls_per_job=9 must be at most calls_per_minute=8'),
    ],
)
def test_options_that_make_no_sense_are_refused(fields, words):
    with pytest.raises(UserError, match=words):
        DemoOptions(**fields)
