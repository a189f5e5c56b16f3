"""A bucket of each S3-compatible store that is installed, for tests to share."""

from collections.abc import Iterator

import pytest

from benchmarks.object_stores import NotInstalledError, running


@pytest.fixture(scope="module", params=["ceph", "moto"])
def bucket(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of an empty bucket; the environment holds the keys to it."""
    try:
        with running(request.param, tmp_path_factory.mktemp("store")) as url:
            yield url
    except NotInstalledError as error:
        pytest.skip(str(error))
