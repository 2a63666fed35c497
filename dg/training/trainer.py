"""The training loop: propose ahead, have depth rendered, update in order, evaluate, checkpoint, log.

It knows no method, no Ray and no data set by name. Same configuration and seed give the same weights, whatever the
number of render workers, whichever of them died, and wherever the run was stopped and resumed (SYSTEMS 2.6).
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from dg.evaluation.results import final_results, run_figures, summary_figures
from dg.files.checkpoint import Checkpoints, save_file
from dg.methods.base import DGMethod, StepKey, training_anchors
from dg.methods.finite_steps import DivergedError
from dg.pose.batch import PoseBatch, finite_rows
from dg.pose.devices import seed_global_stream, send
from dg.pose.windows import Windows
from dg.settings.config import TrainConfig
from dg.tracking.base import Tracker
from dg.training.evaluator import Evaluator, Report
from dg.training.live_depth import LiveDepth
from dg.training.made_of import made_of
from dg.training.pending import PendingRows, load_pending, save_pending
from dg.training.pending_depth import DepartingDepth
from dg.training.problem import Problem
from dg.training.run_record import epoch_metrics
from dg.training.running_means import RunningMeans
from dg.training.view_log import ViewLog
from render_workers.base import RenderInterruptedError

Pending = PoseBatch | PendingRows | DepartingDepth | None  # a proposal that was made ahead
CHECK_EVERY = 20  # updates between looks at the loss: each look waits for the device
EVALUATIONS = 10  # in a run that does not say how often


@dataclass
class _Position:
    """Where the loop stands. A pass is one walk over the source; an epoch is as many lifter steps as a pass has
    batches, so that epochs cost the same for every method.
    """

    source_pass: int = 0
    batch: int = 0
    ended_epoch: int = 0


def evaluation_interval(epochs: int) -> int:
    """Return how many epochs lie between evaluations, so that there are as close to ten as can be; of two, the smaller.

    Args:
        epochs: of the run; the last one is evaluated in any case.
    """
    return min(range(1, epochs + 1), key=lambda every: (abs(math.ceil(epochs / every) - EVALUATIONS), every))


class Trainer:
    """One run. `fit` returns the summary; `stop` may be set or called from another thread or a signal handler."""

    def __init__(
        self,
        config: TrainConfig,
        problem: Problem,
        method: DGMethod,
        live_depth: LiveDepth | None,
        checkpoints: Checkpoints,
        tracker: Tracker,
        report: Report,
        draw: Callable[[PoseBatch], Any] | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self.config, self.problem, self.method = config, problem, method
        self.live_depth, self.checkpoints, self.tracker, self.report = live_depth, checkpoints, tracker, report
        self._stop = stop or threading.Event()
        method.graphs.note = lambda text: report({"kind": "note", "text": text})
        self.draw = draw  # a contact sheet of rendered poses as an image
        self.plan = method.context.plan
        self.position = _Position()
        self.evaluator = Evaluator(config, problem, method, live_depth, checkpoints, report)
        self.seconds = {"total": 0.0, "waiting_for_depth": 0.0}
        self.trained_poses = 0
        self.picture: PoseBatch | None = None  # the last rendered proposal, for the contact sheet
        self.windows = Windows.over(problem.train.clip, config.frames).to(method.context.device)
        self.anchors = training_anchors(problem.train.clip, method.lifter, config.frames)
        self._fine: torch.Tensor | None = None  # usable rows of the source, on the CPU; None for windows
        self._queue: deque[tuple[StepKey, PoseBatch, Pending]] = deque()
        self._resumed: deque[tuple[StepKey, PoseBatch | None]] = deque()
        self.views = ViewLog(method, config.batch_size, report)
        self.curve: list[tuple[int, float]] = []  # lifter steps and mean loss, one an epoch
        self.losses = RunningMeans()  # since the last epoch
        # Points that the store may not have: a run that is killed after a checkpoint logs them when it goes on.
        self._unsettled: list[dict[str, Any]] = []
        self._stepped = self._interrupted = False
        self._ledger_before: dict[str, int] = {}  # of earlier sessions, until the pool's has taken it in

    def stop(self) -> None:
        """Finish the batch in hand, or give up the data set that is being drawn, checkpoint and return from `fit`."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        """Whether the trainer was asked to stop."""
        return self._stop.is_set()

    def fit(self) -> dict[str, Any]:
        """Train to the end of the budget. Returns the results and figures of the run.

        Raises DivergedError for a loss that is not finite; the newest checkpoint is then the one before.
        """
        clock = _Clock(self.seconds["total"])
        try:
            self._train(clock)
        except RenderInterruptedError:
            self._interrupted = True
            if self._stepped:
                self._save()
        self.seconds["total"] = clock.now()
        return self._summary()

    def _train(self, clock: "_Clock") -> None:
        source = self._source = self.evaluator.with_depth(self.problem.train).poses
        if self.live_depth is not None:  # not before: the source may have been on its way as the checkpoint was loaded
            self.live_depth.pool.ledger.add(self._ledger_before)
            self._ledger_before = {}
        if self.config.frames == 1:
            self._fine = (source.valid & finite_rows(source)).cpu()
        for points in self._unsettled:
            self.tracker.log_metrics(**points)
        self._catch_up()
        last_save = time.monotonic()
        batches = self._batches(source)
        while self.method.lifter_steps < self.plan.total_steps and not self.stopped:
            self._update(*next(batches))
            self._send()
            self.seconds["total"] = clock.now()
            epoch = self.method.lifter_steps // self.plan.steps_per_epoch
            finished = self.method.lifter_steps >= self.plan.total_steps
            if epoch > self.position.ended_epoch or finished:
                self._end_epoch(max(epoch, self.position.ended_epoch + 1), finished)
                last_save = time.monotonic()
            elif self.stopped or time.monotonic() - last_save > 60 * self.config.checkpoint_minutes:
                self._save()
                last_save = time.monotonic()
        for _, _, proposal in self._queue:  # drawn ahead of the last update and not needed any more
            self._arrived(proposal)
        self._check_ledger()

    def _catch_up(self) -> None:
        """End the epoch in whose evaluation the run was stopped."""
        steps, plan = min(self.method.lifter_steps, self.plan.total_steps), self.plan
        finished = steps == plan.total_steps
        ended = math.ceil(steps / plan.steps_per_epoch) if finished else steps // plan.steps_per_epoch
        if ended > self.position.ended_epoch:
            self._end_epoch(ended, finished)

    # -- one pass after another -----------------------------------------------------------------------------------

    def _batches(self, source: PoseBatch) -> Iterator[tuple[StepKey, PoseBatch, PoseBatch | None]]:
        """Source batches with their rendered proposals, in order, for ever. Proposals run ahead by `lookahead`."""
        while True:
            first = self.position.batch
            order = self._order()
            moved = self._moved(source)
            for key, proposal in self._resumed:
                self._queue.append((key, self._gather(source, order, key.batch), proposal))
            first += len(self._resumed)
            self._resumed.clear()
            for number in range(first, self.plan.steps_per_epoch):
                self._send()
                key = StepKey(self.config.seed, self.position.source_pass, number)
                batch = self._gather(source, order, number)
                ahead = self._propose(batch, key) if moved is None else self._gather(moved, order, number)
                self._queue.append((key, batch, ahead))
                if len(self._queue) > self.config.render.lookahead:
                    yield self._next()
            while self._queue:
                yield self._next()
            self._check_ledger()
            self.position.source_pass += 1
            self.position.batch = 0

    def _gather(self, poses: PoseBatch, order: torch.Tensor, number: int) -> PoseBatch:
        """The windows of one batch."""
        rows = order[number * self.config.batch_size : (number + 1) * self.config.batch_size]
        batch = self.windows.gather(poses, send(rows, self.windows.first.device))
        if poses is not self._source or self._fine is None:
            return batch
        usable = self._fine[rows].nonzero()[:, 0]
        return batch.knowing(None if len(usable) == len(rows) else usable)

    def _moved(self, source: PoseBatch) -> PoseBatch | None:
        """With windows of several frames: the source as the method moves it for this pass, with depth."""
        if self.config.frames == 1 or self.method.pretraining:
            return None
        key = StepKey(self.config.seed, self.position.source_pass, -1)
        clip = self.problem.train.clip.to(self.method.context.device)
        moved = self.method.propose_pass(source, clip, key)
        moved = None if moved is None else moved.augmented()
        if moved is None or self.live_depth is None:
            return moved
        start = time.monotonic()
        moved = self.live_depth.of_pass(moved, key.number("depth"))
        self.seconds["waiting_for_depth"] += time.monotonic() - start
        return moved

    def _next(self) -> tuple[StepKey, PoseBatch, PoseBatch | None]:
        key, batch, proposal = self._queue.popleft()
        self.position.batch = key.batch + 1
        return key, batch, self._arrived(proposal)

    def _order(self) -> torch.Tensor:
        """The windows' anchors in this pass's order, on the CPU."""
        key = StepKey(self.config.seed, self.position.source_pass, -1)
        return self.anchors[torch.randperm(len(self.anchors), generator=key.generator("order"))]

    def _propose(self, batch: PoseBatch, key: StepKey) -> PendingRows | DepartingDepth | None:
        seed_global_stream(key.number("propose"))
        proposal = self.method.propose(batch, key)
        if proposal is None:
            return None
        proposal = proposal.augmented()
        if self.live_depth is None:
            return PendingRows(proposal)
        return self.live_depth.submit_later(proposal, key.number("depth"), batch)

    def _send(self) -> None:
        """Send the proposals that were made before the last update: while they are fetched a GPU works on that."""
        for _, _, proposal in self._queue:
            if isinstance(proposal, DepartingDepth):
                proposal.sent()

    def _arrived(self, proposal: Pending) -> PoseBatch | None:
        if isinstance(proposal, PendingRows):
            return proposal.result()
        if not isinstance(proposal, DepartingDepth):
            return proposal
        start = time.monotonic()
        rendered = proposal.result()
        self.seconds["waiting_for_depth"] += time.monotonic() - start
        if rendered.usable is None or len(rendered.usable):
            self.picture = rendered
        return rendered

    def _update(self, key: StepKey, batch: PoseBatch, proposal: PoseBatch | None) -> None:
        # Dropout draws from torch's own stream: set it from the step, so that a resumed run draws the same.
        seed_global_stream(key.number("update"))
        before, first = self.method.lifter_steps, not self._stepped
        try:
            update = self.method.update(batch, proposal, key)
        except DivergedError as error:
            raise DivergedError(f"{error}\n  the batch: {self._dump(key, batch, proposal)}") from error
        self.trained_poses += len(batch) * (self.method.lifter_steps - before)
        self.losses.add(update.metrics)
        if not self._stepped:
            self._stepped = True
            self.tracker.connect()
        if self.losses.updates % CHECK_EVERY == 0 or first or (before == 0 and self.method.lifter_steps > 0):
            loss = self._losses()
            self.report({
                "kind": "step", "lifter_steps": self.method.lifter_steps, "total_steps": self.plan.total_steps,
                "loss": loss.get("loss/lifter"), "pool": self._pool_status(), "run_id": self.tracker.run_id,
            })  # fmt: skip

    def _dump(self, key: StepKey, batch: PoseBatch, proposal: PoseBatch | None) -> str:
        """Keep a batch on which training broke down, for people to look into; returns where."""
        path = self.checkpoints.folder / "diverged.pt"
        save_file(path, {"key": vars(key), "batches": save_pending([(key, batch), (key, proposal)])})
        return str(path)

    def _losses(self) -> dict[str, float]:
        """Means of the scalars since the last epoch, of those that are numbers. Raises DivergedError if none is."""
        means = self.losses.means()
        wrong = [name for name, value in means.items() if name.startswith("loss/") and not math.isfinite(value)]
        if wrong:
            raise DivergedError(
                f"{', '.join(wrong)} is not a number after {self.method.lifter_steps} lifter steps; "
                "lower lr, or resume=auto from the last checkpoint with another seed"
            )
        return means

    # -- the end of an epoch --------------------------------------------------------------------------------------

    def _end_epoch(self, epoch: int, last: bool) -> None:
        losses = self._losses()
        scores = {}
        # First: whoever stops the run while the targets are drawn has it evaluated when it goes on.
        if last or epoch % self._every() == 0:
            self.tracker.connect(wait=True)  # the file of the best weights names the run
            scores = self.evaluator.evaluate(epoch, self.tracker.run_id)
        self.losses.clear()
        self.position.ended_epoch = epoch
        if "loss/lifter" in losses:
            self.curve.append((self.method.lifter_steps, losses["loss/lifter"]))
        views = self.views.look(self._source, self.evaluator.targets or ()) if scores else {}
        results = self.evaluator.history.results_at(epoch) if scores else {}
        found = epoch_metrics(results, losses, scores, views, self._figures())
        points = {"metrics": {name: float(value) for name, value in found.items()}, "step": epoch}
        self._unsettled.append(points | {"time_ms": int(1000 * time.time())})
        self._save()
        self.tracker.log_metrics(**self._unsettled[-1])
        if scores and self.tracker.flush(timeout_s=2.0):
            self._unsettled.clear()
        if scores and self.draw is not None and self.picture is not None:
            self.tracker.log_image(self.draw(self.picture), "augmented_poses", step=epoch)
        self.report({
            "kind": "epoch", "epoch": epoch, "epochs": self.plan.total_steps / self.plan.steps_per_epoch,
            "lifter_steps": self.method.lifter_steps, "total_steps": self.plan.total_steps,
            "losses": losses, "scores": scores, "seconds": self.seconds["total"], "pool": self._pool_status(),
        })  # fmt: skip

    def _every(self) -> int:
        epochs = math.ceil(self.plan.total_steps / self.plan.steps_per_epoch)
        return self.config.evaluate_every or evaluation_interval(epochs)

    # -- state ----------------------------------------------------------------------------------------------------

    def _save(self) -> None:
        """Everything the next batch depends on, the proposals in flight included, so that a resumed run equals one
        that never stopped, bit for bit.
        """
        in_flight = [(key, self._arrived(proposal)) for key, _, proposal in self._queue]
        state = {
            "config_digest": self.config.digest(),
            "config": self.config.plain(),
            "run_id": self.tracker.run_id,
            "method": self.method.state_dict(),
            "position": vars(self.position),
            "pending": save_pending(in_flight),
            "history": self.evaluator.history.records,
            "best_lifter": self.evaluator.best_lifter,
            "seconds": self.all_seconds,
            "trained_poses": self.trained_poses,
            "curve": self.curve,
            "losses": self.losses.state_dict(),
            "unsettled": self._unsettled,
            "ledger": self._ledger(),
        }
        path = self.checkpoints.save(self.method.lifter_steps, state)
        self.report({"kind": "checkpoint", "path": str(path)})

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        device = self.method.context.device
        self.method.load_state_dict(state["method"])
        self.position = _Position(**state["position"])
        pending = load_pending(state["pending"], self.problem.train.poses.skeleton, device)
        self._resumed = deque(
            (StepKey(self.config.seed, self.position.source_pass, number), poses) for number, poses in pending
        )
        self.evaluator.history.records = state["history"]
        self.evaluator.best_lifter = state["best_lifter"]
        self.seconds, self.trained_poses = dict(state["seconds"]), state["trained_poses"]
        self.evaluator.seconds = self.seconds.pop("evaluation")
        self.curve = [tuple(point) for point in state.get("curve", [])]
        if "losses" in state:  # absent in older checkpoints
            self.losses.load_state_dict(state["losses"])
        self._unsettled = list(state.get("unsettled", ()))
        self._ledger_before = dict(state["ledger"])

    # -- figures --------------------------------------------------------------------------------------------------

    def _pool_status(self) -> dict[str, float]:
        return {} if self.live_depth is None else self.live_depth.pool.status()

    def _check_ledger(self) -> None:
        if self.live_depth is not None:
            self.live_depth.pool.ledger.check()

    @property
    def all_seconds(self) -> dict[str, float]:
        """Seconds of the run, and of these what was spent on waiting and on evaluation."""
        return self.seconds | {"evaluation": self.evaluator.seconds}

    def _ledger(self) -> dict[str, int]:
        """The pool's, with earlier sessions; what was sent and given up as the run was stopped is not counted, it will
        be sent anew.
        """
        if self.live_depth is None:
            return {}
        ledger = dict(vars(self.live_depth.pool.ledger))
        if self._interrupted:
            ledger["submitted"] = ledger["done"] + ledger["quarantined"]
        return {name: count + self._ledger_before.get(name, 0) for name, count in ledger.items()}

    def _figures(self) -> dict[str, float]:
        figures = run_figures(self.all_seconds, self.trained_poses, self.method.lifter_steps, self._ledger() or None)
        skipped = float(self.method.finite_steps.skipped)
        return figures | ({"trouble/skipped_steps": skipped} if skipped else {})

    def _summary(self) -> dict[str, Any]:
        history = self.evaluator.history
        results = final_results(history, [t.name for t in self.problem.targets])
        parts = made_of(self.method, self.curve)
        return {
            "results": results,
            "val": history.records[-1]["val"] if history.records else {},
            "virtual_cameras": history.records[-1].get("virtual_cameras", {}) if history.records else {},
            "made_of": parts,
            "curves": history.curves(),
            "views": self.views.summary(),
            "lifter_steps": self.method.lifter_steps,
            "interrupted": self.stopped,
        } | summary_figures(self._figures(), self._ledger())


class _Clock:
    """Seconds of training, going on from an earlier session's."""

    def __init__(self, before: float) -> None:
        self.start = time.monotonic() - before

    def now(self) -> float:
        return time.monotonic() - self.start
