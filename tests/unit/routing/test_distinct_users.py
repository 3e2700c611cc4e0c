from reprise.routing import DistinctUsers


def test_a_user_is_new_once():
    seen = DistinctUsers()
    assert [seen.is_new(user) for user in ("a", "b", "a", "b", "c")] == [True, True, False, False, True]


def test_everybody_is_new_again_after_a_reset():
    seen = DistinctUsers()
    assert seen.is_new("a")
    seen.reset()
    assert seen.is_new("a")


def test_memory_is_bounded_and_nobody_is_new_beyond_it():
    seen = DistinctUsers(capacity=3)
    assert sum(seen.is_new(f"u-{number}") for number in range(10)) == 3
    assert not seen.is_new("u-0")
