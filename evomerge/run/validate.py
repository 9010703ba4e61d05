"""Check an experiment before anything expensive starts: every problem at once, each located."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from evomerge.checkpoint.adapter import OpenModel, open_model, open_stored
from evomerge.checkpoint.damage import find_damage
from evomerge.checkpoint.preflight import compare
from evomerge.checkpoint.reader import Checkpoint, open_checkpoint
from evomerge.checkpoint.vocabulary_alignment import BASE, align, disagreement
from evomerge.checkpoint.vocabulary_rows import Model
from evomerge.config.experiment import Experiment
from evomerge.config.read import Located, expected_one_of, read_experiment
from evomerge.config.strict_yaml import KeyPath
from evomerge.errors import ConfigError, ModelError, Problem, UsageError
from evomerge.merge.groups import layer_groups
from evomerge.merge.methods import METHODS, find_method
from evomerge.run.baselines import RESERVED_NAMES
from evomerge.run.choosing import DEFAULT, KINDS, homeless_groups, idle_keys, named_methods
from evomerge.run.needed import all_models, models_of, needed_kinds
from evomerge.scoring.check import check_benchmarks
from evomerge.search.table import CONTROLLERS


def load_experiment(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """The experiment of a file, checked against the models and tasks that it names.

    Raises:
        ConfigError: with every problem that was found.
    """
    reading = read_experiment(path, overrides)
    problems = list(reading.problems)
    if reading.experiment is not None:
        problems += check_experiment(reading.experiment, reading.located)
    if problems or reading.experiment is None:
        raise ConfigError(_in_order(problems))
    return reading.experiment


def check_experiment(experiment: Experiment, located: Located) -> list[Problem]:
    """Everything that is wrong with an experiment of good form."""
    return [
        *_check_names(experiment, located),
        *_check_budget(experiment, located),
        *_check_models(experiment, located),
        *_check_texts(experiment, located),
        *_check_tasks(experiment, located),
    ]


def _check_names(experiment: Experiment, located: Located) -> Iterator[Problem]:
    controller = experiment.search.controller
    for place, name in named_methods(experiment.merge.method):
        if message := _method_problem(name, len(experiment.experts)):
            yield located.problem(("merge", "method", *place), message)
    if experiment.merge.tokenizer not in (None, BASE):
        yield located.problem(("merge", "tokenizer"), _other_vocabulary(experiment.merge.tokenizer))
    if controller not in CONTROLLERS:
        message = f"no controller `{controller}`; {expected_one_of(controller, tuple(CONTROLLERS))}"
        yield located.problem(("search", "controller"), message)
    for name in experiment.experts:
        if name in RESERVED_NAMES:
            message = f"`{name}` is the name of a baseline in every report; name the expert anew"
            yield located.problem(("experts", name), message)


def _other_vocabulary(tokenizer: str) -> str:
    return (
        f"found `{tokenizer}`, expected `{BASE}`: candidates are merged into the base and scored "
        "with its tokenizer. For another vocabulary give the base that one first (`evomerge "
        "transplant` gives it an expert's), and search from there"
    )


def _method_problem(name: str, n_experts: int) -> str | None:
    try:
        method = find_method(name)
    except UsageError:
        return f"no method `{name}`; {expected_one_of(name, tuple(METHODS))}"
    if method.n_experts in (None, n_experts):
        return None
    n = method.n_experts
    return (
        f"{name} merges exactly {n} experts, found {n_experts}; name {n}, or choose another method"
    )


def _check_groups(experiment: Experiment, base: Checkpoint, located: Located) -> Iterator[Problem]:
    merge = experiment.merge
    groups = layer_groups(
        base.infos(),
        granularity=merge.granularity,
        split_modules=merge.split_modules,
        routers=merge.routers,
    )
    for key in idle_keys(merge.method, groups):
        message = f"no layer group `{key}`; {expected_one_of(key, (DEFAULT, *KINDS, *groups))}"
        yield located.problem(("merge", "method", key), message)
    if homeless := homeless_groups(merge.method, groups):
        message = f"no method for {', '.join(homeless)}; name them, or add `{DEFAULT}`"
        yield located.problem(("merge", "method"), message)


def _check_budget(experiment: Experiment, located: Located) -> Iterator[Problem]:
    evaluations, population = experiment.budget.evaluations, experiment.search.population
    if evaluations < population:
        yield located.problem(
            ("budget", "evaluations"),
            f"{evaluations} evaluations are fewer than search.population ({population}), so that "
            "nothing would evolve; raise the budget or lower the population",
        )
    scoring = experiment.scoring
    if scoring.estimator == "irt" and evaluations <= scoring.calibration:
        yield located.problem(
            ("budget", "evaluations"),
            f"{evaluations} evaluations are not more than scoring.calibration "
            f"({scoring.calibration}), so that all would be scored on all items and nothing be "
            "estimated; raise the budget, lower the calibration or set `estimator: mean`",
        )
    if experiment.budget.wall_time_s is not None and experiment.mode == "deterministic":
        yield located.problem(
            ("budget", "wall_time_s"),
            "a time limit makes results depend on the machine's speed; "
            "set `mode: async`, or limit budget.evaluations alone",
        )
    if experiment.workers == 0 and experiment.address is not None:
        yield located.problem(
            ("address",),
            f"found {experiment.address}, but `workers: 0` scores in this process; "
            "set `workers` to a number or to `auto`",
        )


def _check_models(experiment: Experiment, located: Located) -> Iterator[Problem]:
    opened: dict[KeyPath, OpenModel] = {}
    base: Checkpoint | None = None
    try:
        opened[("base",)] = base = open_checkpoint(experiment.base)
    except ModelError as error:
        yield located.problem(("base",), str(error))
    for name, path in experiment.experts.items():
        try:
            # Without a base, an adapter can still be checked for itself.
            opened[("experts", name)] = open_model(path, base) if base else open_stored(path)
        except ModelError as error:
            yield located.problem(("experts", name), str(error))
    for key, model in opened.items():
        for problem in find_damage(model):
            yield located.problem(key, str(problem))
    if base is not None:
        if not (experiment.base / "tokenizer_config.json").is_file():
            message = (
                f"model folder {experiment.base} has no tokenizer_config.json; expected the "
                "base's tokenizer beside its weights, as save_pretrained writes it"
            )
            yield located.problem(("base",), message)
        yield from _check_groups(experiment, base, located)
        experts = {str(key[1]): opened[key] for key in opened if key != ("base",)}
        tokenizer = BASE if experiment.merge.tokenizer else None
        yield from _located_mismatches(base, experts, tokenizer, located)


def _check_texts(experiment: Experiment, located: Located) -> Iterator[Problem]:
    texts = experiment.merge.statistics.texts
    where: KeyPath = ("merge", "statistics", "texts")
    models = all_models(experiment)
    for name, path in texts.items():
        if name not in models:
            message = f"no model `{name}`; {expected_one_of(name, models)}"
            yield located.problem((*where, name), message)
        elif not path.is_file():
            message = f"found no file {path}; expected a text, plain or JSONL"
            yield located.problem((*where, name), message)
    try:
        kinds = needed_kinds(experiment)
    except UsageError:
        return  # said where the method is named
    for kind, method in kinds.items():
        if missing := [model for model in models_of(kind, experiment) if model not in texts]:
            message = (
                f"{method} needs the {kind} of each model on a text of it, and there is none of "
                f"{', '.join(missing)}; name a file for each"
            )
            yield located.problem(where, message)


def _located_mismatches(
    base: Checkpoint, experts: Mapping[str, OpenModel], tokenizer: str | None, located: Located
) -> Iterator[Problem]:
    for name, expert in experts.items():
        fitted: Model = expert
        try:
            if tokenizer is None and (difference := disagreement(base, expert)):
                yield located.problem(("experts", name), difference)
            else:
                fitted = align(base, {name: expert}, tokenizer=tokenizer).experts[name]
        except ModelError as error:
            yield located.problem(("experts", name), str(error))
        for problem in compare(base, {name: fitted}):
            yield located.problem(("experts", name), problem.message)


def _check_tasks(experiment: Experiment, located: Located) -> Iterator[Problem]:
    if experiment.tasks_path is not None and not experiment.tasks_path.is_dir():
        message = f"found no folder {experiment.tasks_path}; expected lm-eval YAML files in it"
        yield located.problem(("tasks_path",), message)
        return
    seen: dict[str, str] = {}
    for index, objective in enumerate(experiment.objectives):
        for role, task in (("task", objective.task), ("test", objective.test)):
            if task is None:
                continue
            place: KeyPath = ("objectives", index, role)
            if task in seen:
                message = f"`{task}` is used by {seen[task]} already; every task is scored once"
                yield located.problem(place, message)
            seen.setdefault(task, f"objectives[{index}].{role}")
            metrics = {task: objective.metric} if objective.metric else None
            for problem in check_benchmarks(
                [task], tasks_path=experiment.tasks_path, metrics=metrics
            ):
                yield located.problem(place, problem.message)


def _in_order(problems: Sequence[Problem]) -> list[Problem]:
    """By line of the file, so that one can go through it from the top."""

    def line_and_column(problem: Problem) -> tuple[int, ...]:
        numbers = problem.where.rsplit(":", 2)[-2:]
        return tuple(int(number) if number.isdigit() else 0 for number in numbers)

    return sorted(problems, key=line_and_column)
