"""The test servers keep their data across a kill."""

from tests.servers import talk


def test_redis_keeps_its_data_across_a_kill(redis):
    talk(redis.port, b"SET servers-test kept\r\n")
    with redis.down():
        assert talk(redis.port, b"PING\r\n") == b""
    assert b"kept" in talk(redis.port, b"GET servers-test\r\n")


def test_a_paused_s3_answers_again_afterwards(s3):
    with s3.paused():
        assert not s3.ready()
    assert s3.ready()
