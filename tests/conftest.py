"""What every test begins with."""

import logging
import os
import resource
import signal

import pytest
import torch

# Sums depend on the number of threads, so a run is only bit-equal to one with as many: one, here
# and in every process that a test starts.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"
torch.set_num_threads(1)

# A run gives these its own log file and keeps their messages from the root logger.
RUN_LOGGERS = ("detectron2", "fvcore", "ovs_core")


@pytest.fixture(autouse=True)
def logs_of_no_other_test():
    """Undo what a run has done to the loggers, so that the next test's ``caplog`` hears them."""
    yield
    for name in RUN_LOGGERS:
        log = logging.getLogger(name)
        log.propagate = True
        for handler in list(log.handlers):
            log.removeHandler(handler)
            handler.close()


@pytest.fixture
def limit_files():
    """Set how large a file may grow, None for as large as before.

    It stands for a full disk: the system refuses to write on, in the middle of a file, to root too.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, before if size is None else (size, before[1]))

    yield limit
    limit(None)
    signal.signal(signal.SIGXFSZ, ignored)
