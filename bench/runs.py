"""One run: calls of one kind to one suite for some seconds, and all that is told of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.load import Answers
from bench.processes import cpu_seconds, family_cpu_seconds, resident_mib
from bench.sites import Site
from bench.wire import Caller, Target

IN_FLIGHT = 32


@dataclass(frozen=True)
class Work:
    """What is asked of which service, so many calls at a time; each is so many items of work."""

    name: str
    path: str
    messages: Callable[[Site], Iterator[bytes]]
    in_flight: int = IN_FLIGHT
    items: int = 1

    @property
    def service(self) -> str:
        """The service that is called, such as `contacts`."""
        return self.path.split(".")[1]


@dataclass(frozen=True)
class Run:
    """Items a second, latencies of calls, CPU by item of all services and of PostgreSQL, and
    the memory of the called processes afterwards.
    """

    per_second: float
    p50_ms: float
    p99_ms: float
    services_cpu_ms: float
    postgres_cpu_ms: float
    resident_mib: float
    failures: Mapping[int, int]


def run(site: Site, work: Work, seconds: float, replicas: Sequence[str] = ()) -> Run:
    """Do the work for so long at the replicas, the service itself if none is named."""
    called = replicas or (work.service,)
    token = site.suite.token()
    caller = Caller([Target(site.suite.addresses[name], work.path, token) for name in called])
    messages = work.messages(site)
    return measured(site, called, work.items, lambda: _load(caller, messages, work, seconds))


def _load(caller: Caller, messages: Iterator[bytes], work: Work, seconds: float) -> Answers:
    try:
        return caller.in_flight(messages, work.in_flight, seconds)
    finally:
        caller.close()


def measured(site: Site, called: Sequence[str], items: int, load: Callable[[], Answers]) -> Run:
    """Measure a load, each of whose calls is so many items of work."""
    pids = [site.suite.pid(name) for name in site.suite.running()]
    before = cpu_seconds(pids), site.postgres_pid and family_cpu_seconds(site.postgres_pid)
    answers = load()
    services = cpu_seconds(pids) - before[0]
    postgres = (site.postgres_pid and family_cpu_seconds(site.postgres_pid)) - before[1]
    some = len(answers.latencies) > 1
    done = max(1, answers.ended) * items
    return Run(
        per_second=answers.per_second * items,
        p50_ms=answers.percentile_ms(50) if some else float("nan"),
        p99_ms=answers.percentile_ms(99) if some else float("nan"),
        services_cpu_ms=services / done * 1000,
        postgres_cpu_ms=postgres / done * 1000,
        resident_mib=sum(resident_mib(site.suite.pid(name)) for name in called),
        failures=answers.failures,
    )
