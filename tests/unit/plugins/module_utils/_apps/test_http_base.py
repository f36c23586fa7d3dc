# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One request, against real servers: sent once, to whom it was meant for, and never believed without a whole answer."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import threading

import pytest
from ansible_collections.servos.ops.plugins.module_utils._apps import http_base
from ansible_collections.servos.ops.plugins.module_utils._errors import ApiError, NoAnswerYetError, ServosError, UnknownOutcomeError

KEYS = {"old_key": "aa" * 32, "new_key": "bb" * 32}


def post(url, **options):
    options = dict({"token": "t0ken", "body": KEYS, "timeout_s": 5}, **options)
    return http_base.request("POST", url, **options)


def test_sends_what_the_pages_ask_for_and_returns_what_was_said(server):
    server.status, server.body = 201, b'{"status": "ok"}'
    server.headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    answer = post(server.url + "/api/rotate?x=1")
    ((method, path, headers, body),) = server.seen
    assert (method, path) == ("POST", "/api/rotate?x=1")
    assert (headers["authorization"], headers["content-type"]) == ("Bearer t0ken", "application/json")
    assert json.loads(body.decode("ascii")) == KEYS
    assert (answer.status, answer.content_type, answer.document, answer.text) == (
        201,
        "application/json",
        {"status": "ok"},
        '{"status": "ok"}',
    )


def test_a_get_has_no_body_and_no_token_where_none_is_given(server):
    http_base.request("GET", server.url, token=None, body=None, timeout_s=5)
    ((method, path, headers, body),) = server.seen
    assert (method, path, body) == ("GET", "/", b"")
    assert "authorization" not in headers
    assert "content-type" not in headers


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(server, trap, status):
    server.status, server.headers = status, {"Location": trap.url + "/elsewhere"}
    answer = post(server.url)
    assert (answer.status, answer.location) == (status, trap.url + "/elsewhere")
    assert len(server.seen) == 1
    assert trap.seen == []


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"])
def test_no_proxy_is_asked(server, trap, monkeypatch, name):
    monkeypatch.setenv(name, trap.url)
    post(server.url)
    assert len(server.seen) == 1
    assert trap.seen == []


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/",
        "http://192.0.2.1/",
        "http://127.0.0.1.example.org/",
        "http://[2001:db8::1]/",
        "http://0.0.0.0/",
        "http://localhost.example.org/",
        "http://2130706433/",
    ],
)
def test_plain_http_to_another_host_is_refused_before_any_connection(url, no_connection):
    with pytest.raises(ApiError, match="plain HTTP to another host"):
        post(url)


@pytest.fixture
def no_connection(monkeypatch):
    def connect(*arguments, **options):
        pytest.fail("a connection was tried")

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)


@pytest.mark.parametrize("url", ["http://127.0.0.1@192.0.2.1/", "https://user:S3CRET@h/", "https://@h/"], ids=str)
def test_a_url_with_a_user_is_refused_and_not_shown(url):
    with pytest.raises(ApiError, match="user name or password") as caught:
        post(url)
    assert "S3CRET" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1.2.3", "LOCALHOST"])
def test_plain_http_to_this_host_is_allowed(server, host, monkeypatch):
    real = socket.create_connection
    monkeypatch.setattr(socket, "create_connection", lambda address, *rest, **more: real(("127.0.0.1", address[1]), *rest, **more))
    assert post(f"http://{host}:{server.server_port}/").status == 200


@pytest.mark.parametrize("url", ["", "ftp://127.0.0.1/", "127.0.0.1/", "file:///etc/passwd", "https://", "http:///x", "javascript:x"])
def test_other_urls_are_refused(url):
    with pytest.raises(ApiError, match="write https://"):
        post(url)


MALFORMED = ["http://127.0.0.1:99999/", "http://127.0.0.1:http/", "http://[::1/"]


@pytest.mark.parametrize("url", MALFORMED)
def test_a_malformed_url_is_our_error(url):
    with pytest.raises(ApiError):
        post(url)


def test_a_url_with_a_space_is_known_not_to_have_been_sent(server):
    with pytest.raises(ApiError) as caught:
        post(server.url + "/a b")
    assert not isinstance(caught.value, UnknownOutcomeError)
    assert server.seen == []


@pytest.mark.parametrize("token", ["S3CRET\nS3CRET", "S3CRET\r\nX-Other: 1", "S3CRET\u20ac", "S3CRET\n", "S3 CRET", ""], ids=ascii)
def test_a_token_that_no_header_can_hold_is_refused_and_not_repeated(server, token):
    with pytest.raises(ServosError) as caught:
        post(server.url, token=token)
    assert "S3CRET" not in str(caught.value)
    assert server.seen == []


def test_no_connection_means_that_nothing_was_sent():
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        with pytest.raises(ApiError, match=r"no connection .*nothing was sent") as caught:
            post(f"http://127.0.0.1:{reserved.getsockname()[1]}/")
    assert not isinstance(caught.value, UnknownOutcomeError)


def _cut(handler):
    handler.connection.shutdown(socket.SHUT_RDWR)


def _half_of_the_headers(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Le")
    _cut(handler)


def _half_of_the_body(handler):
    handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 400\r\n\r\n{"status"')
    _cut(handler)


def _no_http(handler):
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")
    _cut(handler)


def _reset(handler):
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    handler.connection.close()


BROKEN = {"cut": _cut, "half-headers": _half_of_the_headers, "half-body": _half_of_the_body, "no-http": _no_http, "reset": _reset}


@pytest.mark.parametrize("act", [pytest.param(act, id=name) for name, act in BROKEN.items()])
def test_a_connection_that_breaks_is_an_unknown_outcome_and_nothing_is_sent_again(server, act):
    server.act = act
    with pytest.raises(UnknownOutcomeError, match="broke after the request had gone out") as caught:
        post(server.url)
    assert len(server.seen) == 1
    assert not [word for word in (*KEYS.values(), "t0ken") if word in str(caught.value)]


def test_silence_is_an_unknown_outcome_after_its_time(server):
    done = threading.Event()
    server.act = lambda handler: done.wait(5)
    with pytest.raises(NoAnswerYetError, match=r"did not answer within 0\.2 s"):
        post(server.url, timeout_s=0.2)
    done.set()
    assert len(server.seen) == 1


def test_an_answer_without_a_length_is_read_to_its_end(server):
    server.act = lambda handler: handler.wfile.write(b'HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{"status": "ok"}')
    assert post(server.url).document == {"status": "ok"}


@pytest.mark.parametrize("body", [b"", b"OK", b"\xff\xfe", b"{", b"NaN-ish"], ids=repr)
def test_what_is_no_json_is_text(server, body):
    server.body = body
    assert post(server.url).document is None


def test_an_endless_answer_is_read_in_part_only(server):
    server.body = b"x" * (3 * 1024 * 1024)
    assert len(post(server.url).text) <= 1024 * 1024


# TLS, with a certificate made for this test


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tls")
    key, pem = str(directory / "key.pem"), str(directory / "cert.pem")
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-keyout",
        key,
        "-out",
        pem,
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
        "-days",
        "2",
    ]
    try:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("openssl is not here")
    return key, pem


@pytest.fixture
def tls(server, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate[1], certificate[0])
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    return server.server_port


def test_a_certificate_that_is_trusted_is_accepted(server, tls, certificate):
    assert post(f"https://localhost:{tls}/", ca_path=certificate[1]).status == 200


@pytest.mark.parametrize(("host", "trusted"), [("localhost", False), ("127.0.0.1", True)], ids=["unknown-authority", "other-name"])
def test_a_certificate_that_does_not_verify_means_that_nothing_was_sent(server, tls, certificate, host, trusted):
    with pytest.raises(ApiError, match=r"TLS connection .*nothing was sent") as caught:
        post(f"https://{host}:{tls}/", ca_path=certificate[1] if trusted else None)
    assert not isinstance(caught.value, UnknownOutcomeError)
    assert server.seen == []


def test_a_certificate_is_taken_as_it_is_where_that_is_asked_for(server, tls):
    assert post(f"https://127.0.0.1:{tls}/", verify=False).status == 200


def test_https_to_a_server_without_tls_sends_nothing(server):
    with pytest.raises(ApiError, match="nothing was sent"):
        post(server.url.replace("http:", "https:"))
    assert server.seen == []


@pytest.mark.parametrize("content", [None, b"", b"no certificate"], ids=["missing", "empty", "garbage"])
def test_authorities_that_cannot_be_read_are_named(server, tmp_path, content):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ApiError, match="api_ca_file"):
        post("https://localhost:1/", ca_path=str(path))


def test_headers_go_out_and_come_back(server):
    server.headers = {"Content-Type": "application/json", "X-Pika-Locked": "true"}
    answer = http_base.request("GET", server.url, token=None, body=None, timeout_s=5, headers={"Cookie": "a=b"})
    ((unused_method, unused_path, headers, unused_body),) = server.seen
    assert headers["cookie"] == "a=b"
    assert answer.headers["x-pika-locked"] == "true"


@pytest.mark.parametrize("value", ["a\r\nX-Other: 1", "a\nb", "\u20ac", "a\x00"], ids=ascii)
def test_a_header_with_a_line_end_is_not_sent(server, value):
    with pytest.raises(ApiError, match="no header may have") as caught:
        http_base.request("GET", server.url, token=None, body=None, timeout_s=5, headers={"Cookie": value})
    assert value not in str(caught.value)
    assert server.seen == []


def test_cookies_are_seen_and_deleted_ones_are_not(server):
    def act(handler):
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Set-Cookie", "session=a=b|c; Path=/; HttpOnly")
        handler.send_header("Set-Cookie", "gone=; Max-Age=0")
        handler.send_header("Content-Length", "2")
        handler.end_headers()
        handler.wfile.write(b"{}")

    server.act = act
    assert http_base.request("GET", server.url, token=None, body=None, timeout_s=5).cookies == {"session": "a=b|c"}


def test_a_file_is_handed_on_in_pieces_and_not_kept(server):
    server.headers, server.body = {"Content-Type": "application/octet-stream"}, bytes(range(256)) * 8192
    pieces = []
    answer = http_base.request("GET", server.url, token=None, body=None, timeout_s=5, sink=pieces.append)
    assert b"".join(pieces) == server.body
    assert len(pieces) > 1
    assert (answer.status, answer.text) == (200, "")


@pytest.mark.parametrize(
    ("status", "kind"), [(200, "application/json"), (200, "text/html; charset=utf-8"), (503, "application/octet-stream")], ids=str
)
def test_what_is_no_file_never_reaches_the_sink(server, status, kind):
    server.status, server.headers, server.body = status, {"Content-Type": kind}, b'{"message": "no"}'
    pieces = []
    answer = http_base.request("GET", server.url, token=None, body=None, timeout_s=5, sink=pieces.append)
    assert (pieces, answer.text) == ([], '{"message": "no"}')


@pytest.mark.parametrize("sent", [b"", b"0123"], ids=["nothing", "half"])
def test_a_file_that_is_cut_is_no_file(server, sent):
    def act(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 9\r\n\r\n" + sent)

    server.act = act
    with pytest.raises(UnknownOutcomeError, match="in the middle"):
        http_base.request("GET", server.url, token=None, body=None, timeout_s=5, sink=lambda piece: None)
