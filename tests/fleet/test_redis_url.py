"""The URL of a Redis: what is taken, what is refused, and that nothing of it shows."""

from __future__ import annotations

import copy
import pickle
import ssl
from urllib.parse import quote

import pytest
import trustme

pytest.importorskip("redis")
pytest.importorskip("celery")

from clarus_async import ConfigurationError, InvalidInputError
from clarus_async.fleet.celery import make_app
from clarus_async.fleet.redis import RedisPacing
from clarus_async.fleet.redis_url import RedisAddress, read_redis_url
from clarus_async.fleet.shard_store import connect
from tests.secrets.test_calls import Watch

CANARY = "canary"
VERIFIED = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}


def read(url):
    address = read_redis_url(url)
    assert isinstance(address, RedisAddress), address
    return address


@pytest.mark.parametrize(
    ("url", "fields"),
    [
        ("redis://h", {"host": "h", "port": 6379, "database": 0, "username": None, "password": None, "tls": None}),
        ("redis://h:1/2", {"host": "h", "port": 1, "database": 2}),
        ("redis://h/?db=3", {"database": 3}),
        ("redis://h/3?db=3", {"database": 3}),
        ("redis://:p@h", {"username": None, "password": "p"}),
        ("redis://u:p@h", {"username": "u", "password": "p"}),
        ("redis://u:@h", {"username": "u", "password": ""}),
        ("redis://:@h", {"username": None, "password": None}),
        ("redis://u:a:b!$&'()*+,;=~@h", {"username": "u", "password": "a:b!$&'()*+,;=~"}),
        ("redis://u%40x:p%23%2F%5b%3f%25%20@h", {"username": "u@x", "password": "p#/[?% "}),
        ("redis://[::1]:7/0", {"host": "::1", "port": 7}),
        ("redis://my_redis.internal", {"host": "my_redis.internal"}),
        ("unix:///run/redis%20x.sock?db=2", {"path": "/run/redis x.sock", "database": 2}),
        ("unix://:p@/run/redis.sock", {"path": "/run/redis.sock", "password": "p"}),
        ("rediss://h", {"tls": VERIFIED}),
        ("rediss://h?ssl_cert_reqs=required&ssl_check_hostname=True", {"tls": VERIFIED}),
        ("rediss://h?ssl_cert_reqs=CERT_REQUIRED", {"tls": VERIFIED}),
        ("rediss://h?ssl_cert_reqs=CERT_OPTIONAL", {"tls": VERIFIED | {"ssl_cert_reqs": ssl.CERT_OPTIONAL}}),
        ("rediss://h?ssl_check_hostname=false", {"tls": VERIFIED | {"ssl_check_hostname": False}}),
        *(
            (f"rediss://h?ssl_cert_reqs={none}", {"tls": {"ssl_cert_reqs": ssl.CERT_NONE, "ssl_check_hostname": False}})
            for none in ("none", "CERT_NONE", "cert_none")
        ),
    ],
)
def test_what_is_taken(url, fields):
    address = read(url)
    assert {name: getattr(address, name) for name in fields} == fields


BAD = {
    "# in the password": f"redis://:{CANARY}#x@h/0",
    "# in the user name": f"redis://{CANARY}#u:{CANARY}@h/0",
    "/ in the password": f"redis://:{CANARY}/x@h/0",
    "/ and a number": f"redis://:12{CANARY}/3@h",
    "[ in the password": f"redis://:{CANARY}[x@h/0",
    "] in the password": f"redis://:{CANARY}]x@h/0",
    "? in the password": f"redis://:{CANARY}?x@h/0",
    "? in the password, an option": f"redis://:1?db=1@{CANARY}",
    "@ in the password": f"redis://:{CANARY}@x@h/0",
    "% in the password": f"redis://:{CANARY}%x@h/0",
    "% at the end of the password": f"redis://:{CANARY}%@h/0",
    "a space in the password": f"redis://:{CANARY} x@h/0",
    "a letter beyond ASCII": f"redis://:{CANARY}é@h/0",
    "a line end in the password": f"redis://:{CANARY}\n@h/0",
    "a line end after all": f"redis://:{CANARY}@h/0\n",
    "\\ in the password": f"redis://:{CANARY}\\@h/0",
    "a port that is none": f"redis://:{CANARY}@h:63x9/0",
    "a port too large": f"redis://:{CANARY}@h:65536/0",
    "port 0": f"redis://:{CANARY}@h:0/0",
    "no host": f"redis://:{CANARY}@",
    "no host, a port": f"redis://:{CANARY}@:6379",
    "no @": f"redis://:{CANARY}",
    "no colon": f"redis://{CANARY}@h",
    "a database that is none": f"redis://:{CANARY}@h/{CANARY}",
    "a negative database": f"redis://:{CANARY}@h/-1",
    "two databases": f"redis://:{CANARY}@h/1?db=2",
    "an option twice": f"redis://:{CANARY}@h/?db=2&db=2",
    "an option that is not known": f"redis://:{CANARY}@h/0?{CANARY}=1",
    "an option of redis-py's alone": f"redis://:{CANARY}@h/0?socket_timeout=1",
    "an option of Celery's alone": f"redis://:{CANARY}@h/0?virtual_host=1",
    "TLS without TLS": f"redis://:{CANARY}@h/0?ssl_cert_reqs=none",
    "a requirement that is none": f"rediss://:{CANARY}@h/0?ssl_cert_reqs={CANARY}",
    "a flag that is none": f"rediss://:{CANARY}@h/0?ssl_check_hostname=maybe",
    "a CA's file that is not there": f"rediss://:{CANARY}@h/0?ssl_ca_certs=/nowhere/{CANARY}",
    "a CA's file that is none": f"rediss://:{CANARY}@h/0?ssl_ca_certs={quote(__file__)}",
    "a certificate that is none": f"rediss://:{CANARY}@h/0?ssl_certfile={quote(__file__)}",
    "a key and no certificate": f"rediss://:{CANARY}@h/0?ssl_keyfile={quote(__file__)}",
    "another scheme": f"http://:{CANARY}@h/0",
    "sentinels": f"sentinel://:{CANARY}@h/0",
    "no scheme": f":{CANARY}@h/0",
    "a socket with a host": f"unix://:{CANARY}@h/run/redis.sock",
    "a socket without a path": f"unix://:{CANARY}@",
    "nothing": "",
}
ENCODED = [name for name in BAD if name.split()[0] in {"#", "/", "[", "]", "?", "@", "%", "\\"} or "space" in name]


def refuse(make):
    """Have a bad URL refused; the error, and that none of it shows."""
    with Watch() as watch:
        with pytest.raises((InvalidInputError, ConfigurationError)) as caught:
            make()
        watch.check_error(caught.value)
    return caught.value


@pytest.mark.parametrize("make", [lambda url: RedisPacing(url=url), connect, make_app], ids=["pace", "board", "celery"])
@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_what_is_refused_where_it_is_made(make, bad, caplog):
    refuse(lambda: make(bad))
    assert CANARY not in caplog.text


@pytest.mark.parametrize("name", ENCODED)
def test_a_password_that_was_not_encoded_is_told_what_to_do(name):
    assert "percent-encode" in str(read_redis_url(BAD[name]))


def test_only_a_string_will_do():
    assert "must be a URL" in str(read_redis_url(b"redis://h"))


def test_a_socket_is_no_broker():
    assert "socket in the file system" in str(refuse(lambda: make_app("unix:///run/redis.sock")))


def test_files_are_read_where_the_url_is(tmp_path):
    authority = trustme.CA()
    (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
    ours = authority.issue_cert("us.example")
    (tmp_path / "cert.pem").write_bytes(ours.cert_chain_pems[0].bytes())
    (tmp_path / "key.pem").write_bytes(ours.private_key_pem.bytes())
    query = "&".join(
        f"{option}={tmp_path}/{file}.pem"
        for option, file in (("ssl_ca_certs", "ca"), ("ssl_certfile", "cert"), ("ssl_keyfile", "key"))
    )
    assert read(f"rediss://h?{query}").tls == VERIFIED | {
        "ssl_ca_certs": f"{tmp_path}/ca.pem",
        "ssl_certfile": f"{tmp_path}/cert.pem",
        "ssl_keyfile": f"{tmp_path}/key.pem",
    }
    assert "go together" in str(read_redis_url(f"rediss://h?ssl_certfile={tmp_path}/cert.pem"))


@pytest.mark.parametrize("password", ["#/[?@% é\"'", "a:b", ""])
def test_both_libraries_read_the_same(password):
    address = read(f"rediss://u%20:{quote(password, safe='')}@h:7/3")
    client = address.client().connection_pool.connection_kwargs
    app = make_app(f"rediss://u%20:{quote(password, safe='')}@h:7/3")
    broker = app.connection_for_write()
    assert (client["host"], client["port"], client["db"]) == ("h", 7, 3)
    assert (broker.hostname, broker.port, broker.virtual_host) == ("h", 7, "3")
    assert (client["username"], client["password"]) == ("u ", password)
    assert (broker.userid, broker.password or "") == ("u ", password)
    assert broker.ssl == {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}
    assert {name: client[name] for name in broker.ssl} == broker.ssl


def test_it_shows_its_place_alone():
    address = read(f"redis://{CANARY}:{CANARY}@[::1]:7/3")
    assert str(address) == "[::1]:7"
    assert CANARY not in repr(address)
    assert str(read("unix://:p@/run/redis.sock")) == "/run/redis.sock"
    with pytest.raises(TypeError, match="refuses to be pickled"):
        pickle.dumps(address)
    with pytest.raises(TypeError, match="refuses to be pickled"):
        copy.copy(address)
