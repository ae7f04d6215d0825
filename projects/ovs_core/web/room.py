"""The models behind the page: each is built when first asked for, and kept."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

import numpy as np

from ..errors import UserError
from ..files.pictures import LoadedPicture
from ..predict.predictor import Predictor
from ..words.vocabulary import Vocabulary
from .attempts import Attempt
from .choices import Choice
from .runs import Run, Stopped

logger = logging.getLogger(__name__)


LOADING, ENCODING = "loading the model", "encoding picture and words"


class ModelRoom:
    """Predictors by name, at most one call at a time in each.

    Args:
        choices: the methods on offer.
        device: ``auto``, ``cpu`` or ``cuda``.
        options: KEY VALUE overrides of every method.
    """

    def __init__(
        self, choices: Sequence[Choice], device: str = "auto", options: Sequence[str] = ()
    ) -> None:
        self.choices = {choice.name: choice for choice in choices}
        self._device, self._options = device, options
        self._predictors: dict[str, Predictor] = {}
        self._locks = {name: threading.Lock() for name in self.choices}

    def pick(self, names: Sequence[str]) -> list[Choice]:
        """Turn names from the page into methods, in the order of the offer.

        Raises:
            UserError: if there is none, or one that is not on offer.
        """
        unknown = [name for name in names if name not in self.choices]
        if unknown:
            raise UserError(f"the method '{unknown[0]}' is not on offer; reload the page")
        if not names:
            raise UserError("pick at least one method")
        return [choice for name, choice in self.choices.items() if name in names]

    def segment(
        self,
        choice: Choice,
        image: np.ndarray | LoadedPicture,
        words: Vocabulary,
        run: Run | None = None,
    ) -> Attempt:
        """Segment one picture with one method.

        Args:
            choice: the method.
            image: (H, W, 3) uint8 RGB, or a picture with notes.
            words: the classes.
            run: is told what is done, and may end it.

        Returns:
            The result with its times, or an attempt that carries the error.

        Raises:
            Stopped: if the run was ended.
        """
        run = run or Run()
        with self._locks[choice.name], run.interrupting():
            try:
                started = time.perf_counter()
                is_new = choice.name not in self._predictors
                if is_new:
                    run.enter(LOADING)
                predictor = self._predictor(choice)
                loaded = time.perf_counter()
                run.enter(ENCODING)
                result = predictor(image, words)
            except Stopped:
                raise
            except UserError as error:
                return Attempt(choice, None, error=str(error))
            except Exception:  # the trace belongs to the terminal, not to the visitor
                logger.exception("%s failed", choice.name)
                return Attempt(choice, None, error="failed; the terminal shows where")
        loading = loaded - started if is_new else 0.0
        return Attempt(choice, result, time.perf_counter() - loaded, loading)

    def _predictor(self, choice: Choice) -> Predictor:
        if choice.name not in self._predictors:
            self._predictors[choice.name] = Predictor.from_config(
                choice.config, weights=choice.weights, device=self._device, options=self._options
            )
        return self._predictors[choice.name]
