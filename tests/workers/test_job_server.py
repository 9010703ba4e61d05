"""Following a job survives a tunnel that breaks, and says so when it does not come back."""

from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest
from ray.job_submission import JobStatus

from evomerge.errors import InfrastructureError
from evomerge.workers import jobs
from evomerge.workers.jobs import JobEnd, JobServer

OUTPUT = "one\ntwo\nthree\n"


class StartingClient:
    """Has no agent yet for some calls, as a head that has just started."""

    def __init__(self, n_refusals: float) -> None:
        self.n_refusals = n_refusals
        self.submitted: list[str] = []

    def submit_job(self, *, entrypoint: str, submission_id: str, runtime_env: object) -> None:
        self.n_refusals -= 1
        if self.n_refusals >= 0:
            raise RuntimeError("Request failed with status code 500: No available agent to submit")
        self.submitted.append(submission_id)


class BreakingClient:
    """Breaks off the output after each of some numbers of characters, then gives it whole."""

    def __init__(self, *breaks: int, exit_code: int = 0) -> None:
        self.breaks = list(breaks)
        self.exit_code = exit_code

    async def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        if not self.breaks:
            for line in OUTPUT.splitlines(keepends=True):
                yield line
            return
        yield OUTPUT[: self.breaks.pop(0)]
        raise RuntimeError("WebSocket connection closed unexpectedly with close code 1006")

    def get_job_info(self, job_id: str) -> SimpleNamespace:
        status = JobStatus.FAILED if self.exit_code else JobStatus.SUCCEEDED
        return SimpleNamespace(status=status, driver_exit_code=self.exit_code, message=None)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> JobServer:
    monkeypatch.setattr(jobs, "PAUSE_S", 0.0)
    server = JobServer.__new__(JobServer)  # without a cluster
    server.url = "http://127.0.0.1:8265"
    return server


@pytest.mark.parametrize("breaks", [(), (6,), (0, 3, 2, 9)])
def test_every_line_is_written_once_however_often_the_connection_breaks(
    server: JobServer, breaks: tuple[int, ...]
) -> None:
    server._client = BreakingClient(*breaks)
    written: list[str] = []
    assert server.follow("job", written.append) == JobEnd("SUCCEEDED", 0, "")
    assert "".join(written) == OUTPUT


def test_the_end_of_a_failed_job_has_its_exit_code(server: JobServer) -> None:
    server._client = BreakingClient(exit_code=4)
    assert server.follow("job", lambda _: None) == JobEnd("FAILED", 4, "")


def test_a_job_out_of_sight_for_long_is_told_with_how_to_look_again(
    server: JobServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "OUTAGE_S", -1.0)
    server._client = BreakingClient(3)
    expected = (
        r"lost sight of job j: WebSocket .*; it goes on without us\. Look again with: "
        r"RAY_AUTH_MODE=token ray job logs --follow --address http://127\.0\.0\.1:8265 j"
    )
    with pytest.raises(InfrastructureError, match=expected):
        server.follow("j", lambda _: None)


def test_a_head_that_has_just_started_is_waited_for(server: JobServer) -> None:
    client = StartingClient(3)
    server._client = client
    server.submit("true", "job", working_dir=None, variables={})
    assert client.submitted == ["job"]


def test_a_head_without_an_agent_is_told_with_the_likely_reason(
    server: JobServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "AGENT_S", 0.0)
    server._client = StartingClient(float("inf"))
    with pytest.raises(InfrastructureError, match=r"No available agent .*is its port taken, 52365"):
        server.submit("true", "job", working_dir=None, variables={})
