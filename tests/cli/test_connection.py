"""Settings from the environment, from files and from options."""

from __future__ import annotations

import asyncio
import os

import pytest

from clarus_async.cli.commands import main
from clarus_async.simulator import Simulator

BARE = ("SUBDOMAIN", "BASE_URL", "CLIENT_ID", "CLIENT_SECRET", "ACCESS_TOKEN", "REFRESH_TOKEN", "SCOPES")
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in BARE:
        monkeypatch.delenv(f"CLARUS_{name}", raising=False)
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
async def simulator():
    async with Simulator() as simulator:
        yield simulator


@pytest.fixture
def env_file(tmp_path, simulator):
    path = tmp_path / "acme.env"
    path.write_text(
        f"# the trial\nexport CLARUS_SUBDOMAIN=acme\nCLARUS_BASE_URL='{simulator.url}'\n"
        f'CLARUS_CLIENT_ID="{simulator.client_id}"\nCLARUS_CLIENT_SECRET={simulator.client_secret}\nOTHER=$HOME\n'
    )
    path.chmod(0o600)
    return path


async def clarus(*argv):
    return await asyncio.to_thread(main, [str(word) for word in argv])


class TestEnvFile:
    async def test_it_gives_the_settings_and_leaves_the_environment_alone(self, env_file, monkeypatch):
        monkeypatch.setenv("CLARUS_SUBDOMAIN", "another")
        before = dict(os.environ)

        assert await clarus("ping", "--env-file", env_file) == 0
        assert dict(os.environ) == before

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
    async def test_one_that_others_can_read_is_refused(self, env_file, mode, capfd):
        env_file.chmod(mode)

        assert await clarus("ping", "--env-file", env_file) == 2
        assert f"can be read by others (its mode is {mode:04o}): chmod 600 {env_file}" in capfd.readouterr().err

    async def test_an_option_wins(self, env_file, capfd):
        assert await clarus("ping", "--env-file", env_file, "--subdomain", "nowhere") == 1
        assert "nowhere" in capfd.readouterr().err

    @pytest.mark.parametrize(("content", "said"), [(b"\xff\xfe", "is not UTF-8"), (b"A" * 2**17, "is longer than")])
    async def test_what_is_none_is_named(self, env_file, content, said, capfd):
        env_file.write_bytes(content)

        assert await clarus("ping", "--env-file", env_file) == 2
        assert said in capfd.readouterr().err

    async def test_one_that_is_not_there_is_named(self, tmp_path, capfd):
        assert await clarus("ping", "--env-file", tmp_path / "none") == 2
        assert "No such file" in capfd.readouterr().err


async def test_a_secret_comes_from_a_file(env_file, tmp_path, simulator):
    lines = [line for line in env_file.read_text().splitlines() if "SECRET" not in line]
    env_file.write_text("\n".join(lines))
    secret = tmp_path / "secret"
    secret.write_text(simulator.client_secret + "\n")

    assert await clarus("ping", "--env-file", env_file, "--client-secret-file", secret) == 0
    secret.write_text("canary-of-another")
    assert await clarus("ping", "--env-file", env_file, "--client-secret-file", secret) == 1


class TestProxy:
    @pytest.fixture
    def through(self, env_file, simulator, monkeypatch):
        monkeypatch.setenv("HTTP_PROXY", simulator.url)
        return ("ping", "--env-file", env_file, "--allow-http", "--base-url", "http://clarus.invalid")

    async def test_it_is_heard(self, through, simulator, capfd):
        # The simulator is no proxy: it says what it was asked for.
        assert await clarus(*through) == 1
        assert "POST http://clarus.invalid/oauth/token does not exist" in capfd.readouterr().err

    @pytest.mark.parametrize("exempt", ["clarus.invalid", ".invalid", "*"])
    async def test_no_proxy_is_heard(self, through, simulator, exempt, monkeypatch):
        monkeypatch.setenv("NO_PROXY", exempt)

        assert await clarus(*through, "--deadline", "0.2") == 1
        assert not simulator.requests

    async def test_this_machine_is_asked_directly(self, env_file, monkeypatch):
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")

        assert await clarus("ping", "--env-file", env_file) == 0

    @pytest.mark.parametrize("url", ["socks5://canary@127.0.0.1:1080", "http://user:canary@proxy:port", "http://"])
    async def test_one_that_can_t_be_used_is_named_without_its_password(self, through, url, monkeypatch, capfd):
        monkeypatch.setenv("HTTP_PROXY", url)

        assert await clarus(*through) == 2
        err = capfd.readouterr().err
        assert "HTTP_PROXY: must be a URL such as http://proxy.example:3128" in err
        assert "canary" not in err
