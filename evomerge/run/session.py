"""One stretch of a run, from start or resume to its end: search, selection, test, report."""

import shlex
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from evomerge.errors import ScoringError
from evomerge.journal.events import Finished, Proposed, Selected, Stopped
from evomerge.journal.spool import Spool, answers
from evomerge.records import Comparison, Failure, Job, Outcome, Phase, Recipe, Result
from evomerge.run.build import changed_versions, worker_resources, worker_spec
from evomerge.run.calibration import Calibration, alarms, objectives_of
from evomerge.run.dispatch import Dispatcher
from evomerge.run.interrupt import Interrupted, seen_through
from evomerge.run.kept import KeptResults, folder_beside
from evomerge.run.loop import Search, run_jobs, run_search
from evomerge.run.needed import needed
from evomerge.run.plan import Plan
from evomerge.run.preparing import collect_statistics
from evomerge.run.record import Record
from evomerge.run.report import print_report, write_front
from evomerge.run.selecting import worth_rescoring
from evomerge.run.spectators import open_trackers, send_the_rest
from evomerge.run.spooled import SPOOL_NAME, collect
from evomerge.run.view import Spectator, comparison, evaluations, history
from evomerge.scoring.scorers import AnyBenchmark
from evomerge.search.controller import Controller
from evomerge.search.ordered import Window
from evomerge.search.table import CONTROLLERS
from evomerge.tracking.tracker import Tracker
from evomerge.workers.build import open_pool
from evomerge.workers.pool import Pool


class Session:
    """Goes on with a run from what its journal holds, whatever that is."""

    def __init__(
        self, run_dir: Path, record: Record, plan: Plan, benchmarks: Mapping[str, AnyBenchmark]
    ) -> None:
        self._run_dir = run_dir
        self._record = record
        self._plan = plan
        self._benchmarks = benchmarks
        self._spool = Spool(run_dir.resolve() / SPOOL_NAME)
        self._calibration = Calibration(record, plan)

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
        else:
            send_the_rest(self._run_dir, self._plan)
        print_report(self._comparison(), self._run_dir, self._plan.experiment.tracking.mlflow)
        self._require_survivors()
        return 0

    def _go_on(self) -> None:
        """Evaluate what is missing, watched by trackers that learn how it ended."""
        objectives = objectives_of(self._plan, self._record.state)
        spectator = Spectator(
            self._record.state, objectives, self._plan.experiment.budget.evaluations
        )
        history(self._record.state, objectives, spectator)
        tracker = open_trackers(self._run_dir, self._plan)
        started = self._record.state.started
        for line in (*self._plan.notes, *changed_versions(started.versions if started else {})):
            tracker.note(line)
        try:
            with seen_through():
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
        self._calibration.on_note = tracker.note
        if self._calibration.is_due():
            self._calibration.learn()
        if n_found := collect(self._spool, self._record, self._is_wanted):
            tracker.note(f"{n_found} results were finished when the run before this one ended")
        self._prepare(tracker)
        pool = self._open_pool()
        try:
            self._score(self._plan.baselines.values(), "search", tracker, pool)
            self._require_a_baseline()
            if self._record.state.selected is None:
                run_search(self._search(tracker, spectator), self._dispatcher(pool))
            for line in alarms(self._plan, self._record.state):
                tracker.note(line)
            self._select(tracker, pool)
            self._test(tracker, pool)
        finally:
            pool.close()
        final = self._comparison()
        write_front(final, self._run_dir, title=self._run_dir.name)
        self._record.append(
            Finished(
                front=tuple(member.id for member in final.front),
                baselines={name: member.id for name, member in final.baselines.items()},
            )
        )

    def _prepare(self, tracker: Tracker) -> None:
        """Collect the statistics that the methods need, where they have not been yet."""
        plan = self._plan
        wanted = needed(plan.experiment, plan.fingerprints)
        for statistic, seconds in collect_statistics(plan.experiment, plan.dtype, wanted):
            tracker.note(f"{statistic.name} collected in {seconds:.1f} s: {statistic.path}")

    def _search(self, tracker: Tracker, spectator: Spectator) -> Search:
        experiment, state = self._plan.experiment, self._record.state

        def on_told(outcome: Outcome) -> None:
            tracker.show(spectator.see(outcome, state.time_s))

        limit_s = experiment.budget.wall_time_s
        search = Search(
            record=self._record,
            build_controller=self._build_controller,
            space=self._plan.space,
            window=Window(
                experiment.search.window,
                experiment.budget.evaluations,
                experiment.mode,
                asked=state.n_asked,
                told=state.told_numbers,
            ),
            objectives=objectives_of(self._plan, state),
            items=self._plan.search_items,
            seed=experiment.seed,
            on_told=on_told,
            calibration=self._calibration,
            stop_at=None if limit_s is None else time.monotonic() + limit_s,
        )
        search.replay()
        return search

    def _build_controller(self) -> Controller:
        settings = self._plan.experiment.search
        build = CONTROLLERS[settings.controller].build
        return build(self._plan.space.n_dims, settings.population, self._plan.experiment.seed)

    def _open_pool(self) -> Pool:
        experiment = self._plan.experiment
        return open_pool(
            worker_spec(self._plan, folder_beside(self._run_dir)),
            workers=None if experiment.workers == "auto" else experiment.workers,
            address=experiment.address,
            resources=worker_resources(experiment),
            spool=self._spool.folder,
            benchmarks=self._benchmarks,
        )

    def _dispatcher(self, pool: Pool) -> Dispatcher:
        return Dispatcher(self._record, pool, on_recorded=self._spool.remove)

    def _select(self, tracker: Tracker, pool: Pool) -> None:
        """Score the best of the search again, on items that it never saw, to choose the front."""
        plan, state = self._plan, self._record.state
        if not plan.items["selection"]:
            return
        if state.selected is None:
            evaluated = evaluations(state, objectives_of(plan, state))
            best = worth_rescoring(evaluated, plan.experiment.seed)
            self._record.append(Selected(tuple(one.candidate.id for one in best)))
        recipes = {candidate.id: candidate.recipe for candidate in state.candidates.values()}
        selected = state.selected.candidates if state.selected else ()
        chosen = [recipes[id_] for id_ in selected]
        self._score([*plan.baselines.values(), *chosen], "selection", tracker, pool)

    def _test(self, tracker: Tracker, pool: Pool) -> None:
        """Score the front and the baselines on the items that the search never saw."""
        if not self._plan.items["test"]:
            return
        recipes = [member.recipe for member in self._comparison().members()]
        self._score(recipes, "test", tracker, pool)

    def _is_wanted(self, result: Result) -> bool:
        """Whether a result holds scores of the items that its job asked for."""
        if result.phase != "search":
            return answers(result, self._plan.items[result.phase])
        number = next(iter(self._record.state.numbers_of(result.candidate_id)), None)
        return answers(result, self._plan.search_items(number), self._calibration.asking(number))

    def _score(self, recipes: Iterable[Recipe], phase: Phase, tracker: Tracker, pool: Pool) -> None:
        """Evaluate the recipes that have no result in this phase."""
        asking = self._calibration.asking(None) if phase == "search" else {}
        jobs = [replace(self._plan.job(recipe, phase), asking=asking) for recipe in recipes]
        kept = KeptResults(folder_beside(self._run_dir), self._plan, tracker.note)
        if n_found := self._recall(jobs, kept):
            tracker.note(f"{n_found} baselines were scored on the {phase} items by another run")
        dispatcher = self._dispatcher(pool)
        dispatcher.add(jobs)
        if dispatcher.n_open:
            tracker.note(f"scoring {dispatcher.n_open} models on the {phase} items")
        run_jobs(dispatcher)
        for job in jobs:
            kept.keep(job, self._record.state.result(job.candidate_id, phase))

    def _recall(self, jobs: Iterable[Job], kept: KeptResults) -> int:
        """Journal the results that another run has kept; how many."""
        missing = [
            job for job in jobs if self._record.state.result(job.candidate_id, job.phase) is None
        ]
        found = [scores for job in missing if (scores := kept.find(job))]
        for scores in found:
            self._record.append(Proposed(scores.candidate_id, scores.phase))
            self._record.append_result(scores)
        return len(found)

    def _require_a_baseline(self) -> None:
        """Stop before the budget is spent on what no model can do, or cannot be compared."""
        results = [
            self._record.state.result(recipe.digest) for recipe in self._plan.baselines.values()
        ]
        failures = [result for result in results if isinstance(result, Failure)]
        if len(failures) == len(results):
            raise ScoringError(
                f"every baseline failed, so that no merge can be expected to do better; the first: "
                f"{failures[0].message}; mend the tasks or the scoring settings, then start a new "
                "run with --out"
            )
        objectives_of(self._plan, self._record.state).require_limits()

    def _comparison(self) -> Comparison:
        objectives = objectives_of(self._plan, self._record.state)
        return comparison(self._record.state, objectives, self._plan.baselines)

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
