import pytest

from tests.cliptrase.helpers import blocky_picture, build_clip


@pytest.fixture(scope="session")
def clip():
    return build_clip()


@pytest.fixture
def picture():
    return blocky_picture()
