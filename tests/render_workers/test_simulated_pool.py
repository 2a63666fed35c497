"""The pool of the scaling benchmark loses nothing and exchanges nothing, however often its workers die."""

import pytest

from render_workers.pool_options import PoolOptions
from tests.bench.pool_scaling import check, consume, requests_for_ever
from tests.bench.simulated_pool import Fleet, SimulatedPool
from tests.fakes import make_request


@pytest.mark.parametrize(("workers", "unevenness", "deaths"), [(1, 1.0, 0.0), (4, 3.0, 0.0), (8, 2.0, 0.2)])
def test_every_answer_is_the_one_of_its_request(workers, unevenness, deaths):
    fleet = Fleet(batch_s=0.005, unevenness=unevenness, deaths_per_batch=deaths, start_s=0.02)
    with SimulatedPool(fleet, PoolOptions(actors=workers, max_quarantine=0)) as pool:
        pool.wait_until_live()
        consume(pool, requests_for_ever(), ahead=2 * workers, batches=60 + 6 * workers, step_s=0.0)
        assert pool.ledger.submitted == pool.ledger.done
        assert (pool.status()["deaths"] > 0) == (deaths > 0)
        assert (pool.ledger.retried > 0) == (deaths > 0)


def test_the_check_can_fail():
    with SimulatedPool(Fleet(batch_s=0.001, start_s=0.0), PoolOptions(actors=1)) as pool:
        pool.wait_until_live()
        answer = pool.submit(make_request(4, seed=1)).result()
    check(make_request(4, seed=1), answer)
    with pytest.raises(AssertionError, match="not the one"):
        check(make_request(4, seed=2), answer)
