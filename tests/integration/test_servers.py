"""The test servers themselves keep what they were told across a kill."""

from tests.servers import talk


def test_redis_keeps_its_data_across_a_kill(redis):
    talk(redis.port, b"SET servers-test kept\r\n")
    with redis.down():
        assert talk(redis.port, b"PING\r\n") == b""
    assert b"kept" in talk(redis.port, b"GET servers-test\r\n")


def test_s3_that_is_paused_answers_nothing_and_then_again(s3):
    with s3.paused():
        assert not s3.ready()
    assert s3.ready()
