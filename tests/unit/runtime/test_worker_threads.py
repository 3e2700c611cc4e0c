import threading

from reprise.runtime.worker_threads import WorkerThreads


def test_workers_run_until_the_block_ends() -> None:
    running, ended, failed = threading.Barrier(3), [], threading.Event()

    def work(stop: threading.Event) -> None:
        running.wait(5)
        stop.wait(5)
        ended.append(threading.current_thread().name)

    workers = WorkerThreads({"first": work, "second": work}, 5, failed.set)
    with workers.running():
        running.wait(5)
        assert not ended
    assert sorted(ended) == ["first", "second"]
    assert not failed.is_set()
    assert workers.failure is None


def test_failed_worker_reports_its_failure() -> None:
    def broken(_: threading.Event) -> None:
        raise RuntimeError("no shop")

    failed = threading.Event()
    workers = WorkerThreads({"broken": broken}, 5, failed.set)
    with workers.running():
        assert failed.wait(5)
    assert str(workers.failure) == "no shop"


def test_stopping_waits_no_longer_than_the_maximum() -> None:
    release = threading.Event()
    workers = WorkerThreads({"stuck": lambda _: release.wait(30), "also": lambda _: release.wait(30)}, 0.1)

    def run() -> None:
        with workers.running():
            pass

    stopped = threading.Thread(target=run)
    stopped.start()
    stopped.join(5)
    assert not stopped.is_alive()
    release.set()
