"""How long the client waits for a state that the gateway delays."""

import httpx
import pytest

from metseg.client import Client, RemoteProblem


@pytest.mark.parametrize("call", [lambda client: client.job("a", 60), lambda client: client.follow_up("a", 60)])
def test_a_wait_prolongs_the_timeout(call):
    timeouts = []

    def answer(request):
        timeouts.append(request.extensions["timeout"]["read"])
        return httpx.Response(404)

    transport = httpx.MockTransport(answer)
    with Client("http://gateway", timeout_s=5, transport=transport) as client, pytest.raises(RemoteProblem):
        call(client)
    assert timeouts == [65]
