import threading

from reprise.http.background import BackgroundTasks


def test_tasks_run_until_they_are_told_to_stop() -> None:
    running, ended, failed = threading.Barrier(3), [], threading.Event()

    def task(stop: threading.Event) -> None:
        running.wait(5)
        stop.wait(5)
        ended.append(threading.current_thread().name)

    tasks = BackgroundTasks({"first": task, "second": task}, failed.set)
    tasks.start()
    running.wait(5)
    assert not ended
    tasks.stop(5)
    assert sorted(ended) == ["first", "second"]
    assert not failed.is_set()
    assert tasks.failure is None


def test_a_task_that_fails_says_so() -> None:
    def broken(_: threading.Event) -> None:
        raise RuntimeError("no shop")

    failed = threading.Event()
    tasks = BackgroundTasks({"broken": broken}, failed.set)
    tasks.start()
    assert failed.wait(5)
    tasks.stop(5)
    assert str(tasks.failure) == "no shop"


def test_stopping_waits_no_longer_than_it_is_told() -> None:
    release = threading.Event()
    tasks = BackgroundTasks({"stuck": lambda _: release.wait(30), "also": lambda _: release.wait(30)})
    tasks.start()
    stopped = threading.Thread(target=tasks.stop, args=(0.1,))
    stopped.start()
    stopped.join(5)
    assert not stopped.is_alive()
    release.set()
