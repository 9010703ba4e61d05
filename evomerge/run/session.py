"""One stretch of a run, from start or resume to its end: baselines, search, test, report."""

import shlex
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from evomerge.errors import ScoringError
from evomerge.journal.events import Finished, Stopped
from evomerge.records import Comparison, Job, Outcome, Phase, Recipe
from evomerge.run.build import worker_spec
from evomerge.run.interrupt import Interrupted
from evomerge.run.loop import Search, run_jobs, run_search
from evomerge.run.plan import Plan
from evomerge.run.record import Record
from evomerge.run.report import print_report, write_front
from evomerge.run.spectators import open_trackers
from evomerge.run.view import Spectator, comparison, history
from evomerge.scoring.benchmark import Benchmark
from evomerge.search.ordered import Window
from evomerge.search.table import CONTROLLERS
from evomerge.tracking.tracker import Tracker
from evomerge.workers.in_process import InProcessPool
from evomerge.workers.pool import Pool
from evomerge.workers.worker import Worker


class Session:
    """Goes on with a run from what its journal holds, whatever that is."""

    def __init__(
        self, run_dir: Path, record: Record, plan: Plan, benchmarks: Mapping[str, Benchmark]
    ) -> None:
        self._run_dir = run_dir
        self._record = record
        self._plan = plan
        self._benchmarks = benchmarks

    def run(self) -> int:
        """Take the run to its end and print its report; the exit code.

        A finished run is reported again and left as it is. An interrupted one says how to go on.

        Raises:
            ScoringError: every candidate failed.
        """
        if self._record.state.finished is None:
            try:
                self._go_on()
            except Interrupted as interruption:
                print(
                    f"Stopped by {interruption}; everything scored so far is safe. Continue with:\n"
                    f"  evomerge resume {shlex.quote(str(self._run_dir))}"
                )
                return interruption.exit_code
        print_report(self._comparison(), self._run_dir, self._plan.experiment.tracking.mlflow)
        self._require_survivors()
        return 0

    def _go_on(self) -> None:
        """Evaluate what is missing, watched by trackers that learn how it ended."""
        spectator = Spectator(
            self._record.state, self._plan.objectives, self._plan.experiment.budget.evaluations
        )
        past = history(self._record.state, self._plan.objectives, spectator)
        tracker = open_trackers(self._run_dir, self._record.state, self._plan, past)
        try:
            self._evaluate(tracker, spectator)
        except Interrupted as interruption:
            self._record.append(Stopped(str(interruption)))
            tracker.close("killed")
            raise
        except BaseException:
            tracker.close("failed")
            raise
        tracker.close("finished")

    def _evaluate(self, tracker: Tracker, spectator: Spectator) -> None:
        pool = InProcessPool(Worker(worker_spec(self._plan), self._benchmarks))
        try:
            tracker.note(f"scoring {len(self._plan.baselines)} baselines")
            run_jobs(self._record, pool, self._jobs(self._plan.baselines.values(), "search"))
            run_search(self._search(tracker, spectator), pool)
            self._test(tracker, pool)
        finally:
            pool.close()
        final = self._comparison()
        write_front(final, self._run_dir, title=self._run_dir.name)
        tracker.conclude(final)
        self._record.append(
            Finished(
                front=tuple(member.id for member in final.front),
                baselines={name: member.id for name, member in final.baselines.items()},
            )
        )

    def _search(self, tracker: Tracker, spectator: Spectator) -> Search:
        experiment, state = self._plan.experiment, self._record.state

        def on_told(outcome: Outcome) -> None:
            tracker.show(spectator.see(outcome, state.time_s))

        controller = CONTROLLERS[experiment.search.controller]
        limit_s = experiment.budget.wall_time_s
        search = Search(
            record=self._record,
            controller=controller.build(
                self._plan.space.n_dims, experiment.search.population, experiment.seed
            ),
            space=self._plan.space,
            window=Window(
                experiment.search.window,
                experiment.budget.evaluations,
                experiment.mode,
                asked=state.n_asked,
                told=state.told_numbers,
            ),
            objectives=self._plan.objectives,
            items=dict(self._plan.items["search"]),
            seed=experiment.seed,
            on_told=on_told,
            stop_at=None if limit_s is None else time.monotonic() + limit_s,
        )
        search.replay()
        return search

    def _test(self, tracker: Tracker, pool: Pool) -> None:
        """Score the front and the baselines on the items that the search never saw."""
        if not self._plan.items["test"]:
            return
        current = self._comparison()
        recipes = [member.recipe for member in current.members()]
        tracker.note(f"scoring {len(recipes)} models on the test items")
        run_jobs(self._record, pool, self._jobs(recipes, "test"))

    def _jobs(self, recipes: Iterable[Recipe], phase: Phase) -> list[Job]:
        return [self._plan.job(recipe, phase) for recipe in recipes]

    def _comparison(self) -> Comparison:
        return comparison(self._record.state, self._plan.objectives, self._plan.baselines)

    def _require_survivors(self) -> None:
        failures = self._record.state.failures
        if self._record.state.n_done == 0:
            raise ScoringError(
                "no candidate was scored before budget.wall_time_s passed; allow more time"
            )
        if self._record.state.n_failed == self._record.state.n_done:
            raise ScoringError(
                f"every candidate failed ({failures}); `evomerge status {self._run_dir}` "
                "shows the messages"
            )
