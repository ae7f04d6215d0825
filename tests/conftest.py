"""What every test begins with."""

import logging

import pytest

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
