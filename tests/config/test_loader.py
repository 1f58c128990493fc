"""config.yaml as a whole: the shipped file, every way to be wrong, variables, includes, where it is
looked for."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import pytest
from msgspec import inspect, structs

from proxy.config.loader import ConfigError, Loaded, find, forward_only, load
from proxy.config.settings import Settings
from proxy.config.settings.upstreams import APIS

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "config.yaml"
USABLE = """
upstreams: {vendor: {base_url: "http://127.0.0.1:9/v1", api_key: sk-vendor}}
routes: [{model: "*", upstream: vendor}]
keys: {alice: {secret: sk-alice}}
"""
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBbzCCARWgAwIBAgIUfKxLJHAi53e1Zn9i9iLqV2IBbeswCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBdDAgFw0yNjExMjIwMjU2MDlaGA8yMTI2MTAyOTAyNTYwOVow
DDEKMAgGA1UEAwwBdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABMEIpQIY5Ww+
pNCAF7kXlIZ+X62aoxRba0fSnwlfyvmmHRIzHN9/EZwdMdBSn3nQKpjim0ZOwuj4
FCY+hpPC5hujUzBRMB0GA1UdDgQWBBSe0gR3rzyoGdoiF0CnKAL8OUsIuzAfBgNV
HSMEGDAWgBSe0gR3rzyoGdoiF0CnKAL8OUsIuzAPBgNVHRMBAf8EBTADAQH/MAoG
CCqGSM49BAMCA0gAMEUCIF5L9QNxQOLYanQTyy2/MlWKU4dfKBFSpfYqscCHHSAg
AiEAy7tjUd1NqZqzn5x9QCb3YBZ8qINup+HvZb1QGghaLtQ=
-----END CERTIFICATE-----
"""


def loaded(directory: Path, text: str, environ: dict[str, str] | None = None) -> Loaded:
    path = directory / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, environ or {})


def refused(directory: Path, text: str, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(directory, text, environ)
    return [message.replace(f"{directory}/", "") for message in caught.value.messages]


# --- the shipped file
# ---------------------------------------------------------------------------------------------------------------------------


def test_the_shipped_config_starts_with_an_empty_environment_and_says_what_is_missing() -> None:
    shipped = load(SHIPPED, {})
    assert set(shipped.settings.upstreams) == {"modelmax", "modelverse", "opt", "api000"}
    assert {upstream.base_url for upstream in shipped.settings.upstreams.values()} == {
        "https://api.modelmax.io/v1",
        "https://api.modelverse.cn/v1",
        "https://www.sky-ze.com/v1",
        "https://api000.com/v1",
    }
    assert (
        len([text for text in shipped.warnings if "answer 503 upstream_not_configured" in text])
        == 4
    )
    assert "keys.alice has no secret: the key is disabled" in shipped.warnings
    assert shipped.settings.data_dir == ROOT / "var"


def test_the_shipped_config_with_its_variables_set_has_nothing_to_warn_of() -> None:
    environ = {
        name: f"sk-{name}-q7Zt3Kx9vB2mW5cR8nYd"
        for name in (
            "MODELMAX_API_KEY",
            "MODELVERSE_API_KEY",
            "OPT_API_KEY",
            "API000_API_KEY",
            "ALICE_KEY",
        )
    }
    shipped = load(SHIPPED, environ)
    assert shipped.warnings == ()
    assert shipped.settings.upstreams["opt"].api_key == "sk-OPT_API_KEY-q7Zt3Kx9vB2mW5cR8nYd"


def test_the_shipped_values_are_the_defaults_and_every_bound_is_written_out() -> None:
    shipped = load(SHIPPED, {}).settings
    examples = ("upstreams", "routes", "teams", "keys")
    defaults = structs.replace(
        Settings(),
        data_dir=ROOT / "var",
        ledger=structs.replace(Settings().ledger, key_file=ROOT / "var" / "ledger.key"),
        **{name: getattr(shipped, name) for name in examples},
    )
    assert shipped == defaults
    text = re.sub(r"#.*", "", SHIPPED.read_text(encoding="utf-8"))
    for block in (
        field for field in inspect.type_info(Settings).fields if field.encode_name not in examples
    ):
        kind = block.type.type
        names = (
            [field.encode_name for field in kind.fields]
            if isinstance(kind, inspect.StructType)
            else []
        )
        body = re.search(rf"(?ms)^{block.encode_name}:.*?(?=^\S|\Z)", text)
        assert body is not None, f"config.yaml lacks {block.encode_name}"
        for name in names:
            assert re.search(rf"[\s{{]{name}:", body[0]), (
                f"config.yaml lacks {block.encode_name}.{name}: add it with its default and a comment"
            )


def test_every_key_stands_in_the_shipped_config_with_a_comment() -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    missing: list[str] = []

    def walk(kind: inspect.Type, path: str) -> None:
        if isinstance(kind, inspect.Metadata):
            walk(kind.type, path)
        elif isinstance(kind, inspect.UnionType):
            for choice in kind.types:
                walk(choice, path)
        elif isinstance(kind, inspect.DictType):
            walk(kind.value_type, path)
        elif isinstance(kind, inspect.VarTupleType):
            walk(kind.item_type, path)
        elif isinstance(kind, inspect.StructType):
            for field in kind.fields:
                if not re.search(rf"(?<![\w.-]){field.encode_name}(?![\w-])", text):
                    missing.append(f"{path}.{field.encode_name}")
                walk(field.type, f"{path}.{field.encode_name}")

    walk(inspect.type_info(Settings), "")
    assert not missing, f"add these keys to config.yaml, with a comment: {missing}"
    # A scalar written out has its comment on the line or on the line that opens its block.
    block = text[: text.index("\nupstreams:")] + text[text.index("\ntimeouts:") :]
    bare = [line for line in block.splitlines() if re.match(r" *\w+: \S", line) and "#" not in line]
    allowed = ("listen", "url")  # said on the lines around them
    assert [line for line in bare if line.split(":")[0].strip() not in allowed] == []


# --- wrong configs
# ------------------------------------------------------------------------------------------------------------------------------

MINIMAL = (
    'upstreams: {v: {base_url: "http://h/v1", api_key: k}}\nroutes: [{model: "*", upstream: v}]\n'
)
# (what is wrong, a fragment of each message; " … " stands between parts of one message)
BAD: list[tuple[str, list[str]]] = [
    # shape
    (
        "lisen: 127.0.0.1:1\n" + MINIMAL,
        ["config.yaml:1: lisen: unknown key; the nearest known one is listen"],
    ),
    (
        MINIMAL + "drains: {max: 5, timeout: 10s}",
        ["config.yaml:3: drains: it is called after_client_left now; `drain` is about stopping"],
    ),
    (
        MINIMAL + "timeouts: {conect: 1s}",
        ["timeouts.conect: unknown key; the nearest known one is connect"],
    ),
    (
        "upstreams: {v: {base_ur: 'http://h'}}\nroutes: [{model: '*', upstream: v}]",
        [
            "upstreams.v.base_ur: unknown key; the nearest known one is base_url",
            "upstreams.v.base_url: missing",
        ],
    ),
    (
        "upstreams: {v: http://h}\nroutes: [{model: '*', upstream: v}]",
        ["upstreams.v: expected a mapping"],
    ),
    ("- a\n- b\n", ["config.yaml:1: expected a mapping of keys"]),
    ("just words", ["expected a mapping of keys"]),
    (MINIMAL + "keys: [alice]", ["keys: expected a mapping of names"]),
    (MINIMAL + "limits: 60 requests/minute", ["limits: expected a list; write [one, two]"]),
    (MINIMAL + "inflight_max: [1]", ["inflight_max: expected a single value"]),
    (MINIMAL + "inflight_max:", ["inflight_max: no value; write one after the colon"]),
    (
        MINIMAL + "inflight_max: '10'",
        ["inflight_max: expected a whole number without quotes, found '10'"],
    ),
    (MINIMAL + "quota_status: 418", ["quota_status: expected 429, 402 or 403"]),
    (MINIMAL + "quota_status: 500", ["quota_status: must be at most 429, found '500'"]),
    (MINIMAL + "inflight_max: 0", ["inflight_max: must be at least 1, found '0'"]),
    (MINIMAL + "bodies: {answer_max: 4KiB}", ["bodies.answer_max: must be at least 64KiB, found"]),
    (MINIMAL + "inflight_max: yes", ["inflight_max: expected a whole number … 'yes'"]),
    (MINIMAL + "inflight_max: 1.5", ["inflight_max: expected a whole number … '1.5'"]),
    (
        "upstreams: {v: {base_url: 'http://h', api_key: k, cached_inside_input: yes}}\nroutes: [{model: '*', upstream: v}]",
        ["upstreams.v.cached_inside_input: expected true or false, found 'yes'"],
    ),
    # YAML
    (
        MINIMAL + "listen: 127.0.0.1:1\nlisten: 127.0.0.1:2",
        ["config.yaml:4: listen: duplicate key, first at config.yaml:3"],
    ),
    (
        "upstreams:\n  v: {base_url: http://a}\n  v: {base_url: http://b}\nroutes: [{model: '*', upstream: v}]",
        ["config.yaml:3: upstreams.v: duplicate key"],
    ),
    (MINIMAL + "log: {format: text\n", ["config.yaml: … not readable as YAML"]),
    (MINIMAL + "\tlisten: x", ["config.yaml:3: not readable as YAML"]),
    (MINIMAL + "images: [{models: m, base: 85}]", ["images[0]: say either base and tile"]),
    (
        MINIMAL + "images: [{models: m, base: 85, tile: 170, patch: '1.2'}]",
        ["images[0]: say either base and tile"],
    ),
    (MINIMAL + "images: [{models: m}]", ["images[0]: say either base and tile"]),
    (MINIMAL + "support: !!python/object:os.system x", ["support: the tag … is not allowed"]),
    (
        MINIMAL + "keys: {a: &a {secret: s}, b: {<<: *a}}",
        ["keys.b.<<: merge keys are not supported; write the keys out"],
    ),
    (MINIMAL + "log: {[a]: b}", ["log: a key must be a plain word"]),
    (MINIMAL + "--- \nlisten: 127.0.0.1:1", ["not readable as YAML"]),
    (MINIMAL + "support: 'a\x01b'", ["a character that YAML does not allow"]),
    (
        MINIMAL + "teams: {t: {labels: {cost_center: 4711}}}",
        [
            'teams.t.labels.cost_center: found 4711, which YAML reads as a number; put it in quotes: "4711"'
        ],
    ),
    (
        MINIMAL + "teams: {t: {labels: {v: 1.10}}}",
        ['found 1.10, which YAML reads as a number; put it in quotes: "1.10"'],
    ),
    (
        MINIMAL + "teams: {t: {labels: {v: true}}}",
        ['found true, which YAML reads as true or false; put it in quotes: "true"'],
    ),
    # values
    (MINIMAL + "listen: 8790", ["listen: found 8790 … put it in quotes"]),
    (MINIMAL + "listen: ':8790'", ["listen: expected host:port … found ':8790'"]),
    (
        MINIMAL + "metrics: {listen: 'localhost:99999'}",
        ["metrics.listen: expected host:port with a port up to 65535"],
    ),
    (
        MINIMAL + "timeouts: {connect: 10}",
        ["timeouts.connect: expected a duration with its unit: 100ms, 10s"],
    ),
    (MINIMAL + "timeouts: {connect: 10 sec}", ["timeouts.connect: expected a duration"]),
    (MINIMAL + "timeouts: {connect: 0s}", ["timeouts.connect: must be more than 0s, found '0s'"]),
    (MINIMAL + "timeouts: {total: 99999d}", ["timeouts.total: must be at most 3660d"]),
    (MINIMAL + "timeouts: {idle: 1.5}", ["timeouts.idle: expected a duration"]),
    (MINIMAL + "bodies: {max: 32}", ["bodies.max: expected a size with its unit: 512KiB, 32MiB"]),
    (MINIMAL + "bodies: {max: 32mb}", ["bodies.max: expected a size"]),
    (MINIMAL + "bodies: {max: 1GiB}", ["bodies.max: is larger than bodies.total_max"]),
    (MINIMAL + "journal: {adopt: true}", ["journal.adopt: only a ledger that several processes"]),
    (MINIMAL + "journal: {size_max: 32MiB}", ["journal.size_max: must hold at least 4 segments"]),
    (
        MINIMAL + "log: {requests: fail}",
        [
            "log.requests: found 'fail'; the nearest possible value is failed (possible: all, failed, none)"
        ],
    ),
    (
        MINIMAL + "privacy: {end_user: none}",
        ["privacy.end_user: found 'none' … possible: hash, off, plain"],
    ),
    (
        MINIMAL + "timezone: Europe/Berln",
        ["timezone: no such IANA time zone; the nearest known one is Europe/Berlin"],
    ),
    (MINIMAL + "currency: usd", ["currency: expected a currency code of three capitals"]),
    (
        MINIMAL + "ledger: {url: 'mysql://h/db'}",
        ["ledger.url: expected sqlite:FILE or postgresql://USER:PASSWORD@HOST/DATABASE"],
    ),
    (MINIMAL + "quota: {url: 'mysql://h'}", ["quota.url: expected memory: or valkey://"]),
    (
        MINIMAL + "quota: {url: 'redis://h'}",
        ["quota.url: a quota that several processes share needs a ledger that they share"],
    ),
    (
        # What goes with the ledger is not known.
        MINIMAL + "ledger: {url: 'postgresql:/h'}\nquota: {url: 'redis://h'}\n"
        "journal: {adopt: true}",
        ["ledger.url: expected sqlite:FILE or postgresql://USER:PASSWORD@HOST/DATABASE"],
    ),
    (
        MINIMAL + "quota: {on_outage: {strict: count}}",
        ["quota.on_outage.strict: found 'count' … possible: refuse"],
    ),
    # money, prices, limits
    (
        MINIMAL + "prices: [{model: m, input: 0.28}]",
        [
            'prices[0].input: 0.28 is a YAML float, which cannot hold money exactly; put it in quotes: "0.28"'
        ],
    ),
    (MINIMAL + "teams: {t: {markup: .05}}", ['teams.t.markup: .05 is a YAML float … ".05"']),
    (MINIMAL + "fx: {CNY: [{rate: 1.4e-1}]}", ["fx.CNY[0].rate: 1.4e-1 is a YAML float"]),
    (
        MINIMAL + "prices: [{model: m, input: '-1'}]",
        ["prices[0].input: expected a decimal number in quotes"],
    ),
    (MINIMAL + "prices: [{input: '1'}]", ["prices[0].model: missing; add model"]),
    (
        MINIMAL + "prices: [{model: m, upstream: w, input: '1'}]",
        ["prices[0].upstream: there is no upstream 'w'; the nearest known one is v"],
    ),
    (
        MINIMAL + "prices: [{model: m, input: '1', from: 2026-02-30}]",
        ["prices[0].from: no such day or time in the calendar"],
    ),
    (MINIMAL + "fx: {yuan: []}", ["fx.yuan: expected a currency code"]),
    (MINIMAL + "limits: [60 requests]", ["limits[0]: say per what"]),
    (MINIMAL + "limits: [60 request/minute]", ["no such unit; the nearest known one is requests"]),
    (MINIMAL + "limits: [60 requests/min]", ["no such period; the nearest known one is minute"]),
    (MINIMAL + "limits: [5 USD/minute]", ["money needs a calendar period or total"]),
    (MINIMAL + "limits: [1.5 tokens/day]", ["only money may have decimals"]),
    (MINIMAL + "limits: [8 concurrent/minute]", ["concurrent takes no period"]),
    (
        MINIMAL + "limits: [{limit: 8 concurrent, enforce: hard}]",
        ["limits[0].enforce: found 'hard'"],
    ),
    (
        MINIMAL + "limits: [{limit: 8 concurrent, warn_at: [0.8]}]",
        ["limits[0].warn_at[0]: found 0.8"],
    ),
    (MINIMAL + "limits: [{name: x}]", ["limits[0].limit: missing"]),
    # names
    (
        "listen: 127.0.0.1:1",
        [
            'upstreams: none; add at least one vendor, such as openai: {base_url: https://api.openai.com/v1, api_key: "${OPENAI_API_KEY}"}'
        ],
    ),
    (
        "upstreams: {v: {base_url: 'http://h'}}",
        ['routes: none, so every model would be unknown; add {model: "*", upstream: v}'],
    ),
    (
        "upstreams: {v: {base_url: 'http://h'}}\nroutes: [{model: '*', upstream: vv}]",
        [
            "config.yaml:2: routes[0].upstream: there is no upstream 'vv'; the nearest known one is v"
        ],
    ),
    (
        MINIMAL + "keys: {a: {secret: s, team: reserch}}\nteams: {research: {}}",
        ["keys.a.team: there is no team 'reserch'; the nearest known one is research"],
    ),
    (
        MINIMAL + "keys: {a: {secret: s, team: t}}",
        ["keys.a.team: there is no team 't'; add it under teams"],
    ),
    (MINIMAL + "keys: {'a b': {secret: s}}", ["keys.a b: expected a name of letters"]),
    (
        MINIMAL + "keys: {fwd-1: {secret: s}}",
        ["keys.fwd-1: names that begin with fwd- stand for forwarded credentials"],
    ),
    (
        MINIMAL + "keys: {a: {secret: s}, b: {secret: s}}",
        ["keys.b: has the same secret as keys.a; make one with `tollkeeper key hash --new`"],
    ),
    (
        MINIMAL + "keys: {a: {secret: s, secret_sha256: " + "0" * 64 + "}}",
        ["keys.a.secret_sha256: say either the secret or its SHA-256"],
    ),
    (
        MINIMAL + "keys: {a: {secret_sha256: " + "A" * 64 + "}}",
        ["keys.a.secret_sha256: expected 64 hexadecimal digits in lower case"],
    ),
    (MINIMAL + "keys: {a: {secret: 'two words'}}", ["keys.a.secret: a secret has no blanks"]),
    (
        MINIMAL + "keys: {a: {secret_file: nowhere}}",
        ["keys.a.secret_file: cannot read nowhere: No such file"],
    ),
    (
        MINIMAL + "keys: {a: {secret: s, secret_file: f}}",
        ["keys.a.secret_file: say either secret or secret_file, not both"],
    ),
    (
        MINIMAL + "keys: {a: {secret: s, expires: 90d}}",
        ["keys.a.expires: expected a day such as 2027-01-31"],
    ),
    (
        MINIMAL + "passthrough: [{path: v1/files, upstream: v}]",
        ["passthrough[0].path: expected a path that begins"],
    ),
    (
        MINIMAL + "metrics: {listen: 127.0.0.1:8790}",
        ["metrics.listen: the address 127.0.0.1:8790 is also listen"],
    ),
    (
        MINIMAL + "include: [teams.d/research.yaml]",
        ["include[0]: there is no file teams.d/research.yaml"],
    ),
    (
        MINIMAL + "attribution: {end_user: [body:email]}",
        ["attribution.end_user[0]: expected header:NAME, body:user"],
    ),
    # upstreams
    (
        "upstreams: {v: {base_url: 'ftp://h'}}\nroutes: [{model: '*', upstream: v}]",
        ["upstreams.v.base_url: expected http(s)://host"],
    ),
    (
        "upstreams: {v: {base_url: 'http://h', auth: forward, api_key: k}}\nroutes: [{model: '*', upstream: v}]",
        ["upstreams.v.api_key: is never sent under auth: forward"],
    ),
    (
        "upstreams: {v: {base_url: 'http://h', ca_file: none.pem}}\nroutes: [{model: '*', upstream: v}]",
        ["upstreams.v.ca_file: cannot read … No such file"],
    ),
    (
        "upstreams: {v: {base_url: 'http://h', ca_file: config.yaml}}\nroutes: [{model: '*', upstream: v}]",
        ["upstreams.v.ca_file: … config.yaml holds no certificate in PEM"],
    ),
    (
        "upstreams: {v: {base_url: 'http://h', ca_file: .}}\nroutes: [{model: '*', upstream: v}]",
        ["upstreams.v.ca_file: cannot read … directory"],
    ),
    (
        "upstreams: {v: {base_url: 'http://h', api_key: sk-ключ}}\nroutes: [{model: '*', upstream: v}]",
        ["upstreams.v.api_key: holds a character that no header can carry"],
    ),
    (
        "upstreams: {v: {base_url: 'http://h', api_key: \"sk\\u0085\"}}\nroutes: [{model: '*', upstream: v}]",
        ["upstreams.v.api_key: a secret has no blanks, line ends or control characters"],
    ),
    (
        "upstreams: {v: {base_url: 'http://h', headers: {x-a: 中}}}\nroutes: [{model: '*', upstream: v}]",
        ["upstreams.v.headers.x-a: expected a header's value … Latin-1"],
    ),
    (
        "upstreams: {v: {base_url: 'http://h', allow_request_headers: [Authorization, x-api-key, cookie, API-KEY, host, content-length]}}\nroutes: [{model: '*', upstream: v}]",
        [
            "allow_request_headers[4]: this header belongs to",
            "allow_request_headers[5]: this header belongs to",
        ]
        + [
            f"upstreams.v.allow_request_headers[{index}]: {name} holds the caller's key for this proxy"
            for index, name in enumerate(["Authorization", "x-api-key", "cookie", "API-KEY"])
            if name != "cookie"
        ],
    ),
    (
        "upstreams: {v: {base_url: 'http://h', headers: {Host: x}}}\nroutes: [{model: '*', upstream: v}]",
        ["upstreams.v.headers.Host: this header belongs to one connection"],
    ),
    (
        'upstreams: {v: {base_url: "http://h", headers: {x-a: "b\\r\\nc: d"}}}\nroutes: [{model: "*", upstream: v}]',
        ["upstreams.v.headers.x-a: expected a header's value: one line"],
    ),
    (
        "upstreams: {v: {base_url: 'http://h', timeouts: {header: 1s}}}\nroutes: [{model: '*', upstream: v}]",
        ["upstreams.v.timeouts.header: unknown key"],
    ),
    (
        "upstreams: {v: {base_url: 'http://h', discount: '5'}}\nroutes: [{model: '*', upstream: v}]",
        ['upstreams.v.discount: is a share; write 5 % as "0.05"'],
    ),
    (
        "upstreams: {v: {base_url: 'http://h', allow_fields: [modles]}}\nroutes: [{model: '*', upstream: v}]",
        [
            "upstreams.v.allow_fields[0]: expected a field that is refused else; this one passes unnamed, and the nearest that does not is models"
        ],
    ),
    # variables
    (
        "upstreams: {v: {base_url: 'http://h', api_key: '${VENDOR_KEY}'}}\nroutes: [{model: '*', upstream: v}]",
        ["upstreams.v.api_key: the environment variable VENDOR_KEY is not set"],
    ),
    (
        MINIMAL + "keys: {a: {secret: '${A_KEY}'}}",
        ["keys.a.secret: the environment variable A_KEY is not set; set it, or write ${A_KEY:-}"],
    ),
    (MINIMAL + "listen: '${WHERE}'", ["listen: the environment variable WHERE is not set"]),
    (
        MINIMAL + "support: '${not a name}'",
        ["support: a variable is written ${NAME} or ${NAME:-default}"],
    ),
    (MINIMAL + "support: '${OPEN'", ["support: a variable is written ${NAME}"]),
    # what no text can hold
    (MINIMAL + 'keys: {a: {secret: "s\\udcff"}}', ["keys.a.secret: holds half of a character"]),
    (
        MINIMAL + 'teams: {t: {labels: {"\\ud800": x}}}',
        ["teams.t.labels: a key holds half of a character"],
    ),
]


@pytest.mark.parametrize(("text", "fragments"), BAD, ids=[str(index) for index in range(len(BAD))])
def test_a_wrong_config_names_the_key_and_what_to_do(
    tmp_path: Path, text: str, fragments: list[str]
) -> None:
    messages = refused(tmp_path, text)
    assert len(messages) == len(fragments), messages
    for message, expected in zip(messages, fragments, strict=True):
        assert all(part in message for part in expected.split(" … ")), messages


@pytest.mark.parametrize(
    "text",
    [
        "keys: {a: {secret: '${ODD}'}}",
        "support: '${ODD}'",
        "teams: {t: {labels: {a: 'x${ODD}'}}}",
        "data_dir: '${ODD}'",
    ],
)
def test_a_variable_that_is_no_text_is_named(tmp_path: Path, text: str) -> None:
    (message,) = refused(tmp_path, MINIMAL + text, {"ODD": os.fsdecode(b"sk-\xff")})
    assert "the environment variable ODD is not text in UTF-8; set it again" in message


def test_all_problems_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """\
lisen: 127.0.0.1:8790
upstreams:
  v:
    base_url: gopher://h
    api_key: ${V_KEY}
routes:
  - {model: "*", upstream: w}
prices:
  - {model: m, input: 0.28}
timeouts: {connect: 10}
timeouts: {connect: 10s}
keys:
  alice: {team: none, secret: a b}
"""
    assert [message.split(": ")[:2] for message in refused(tmp_path, text)] == [
        ["config.yaml:1", "lisen"],
        ["config.yaml:4", "upstreams.v.base_url"],
        ["config.yaml:5", "upstreams.v.api_key"],
        ["config.yaml:7", "routes[0].upstream"],
        ["config.yaml:9", "prices[0].input"],
        ["config.yaml:10", "timeouts.connect"],
        ["config.yaml:11", "timeouts"],
        ["config.yaml:13", "keys.alice.secret"],
        ["config.yaml:13", "keys.alice.team"],
    ]


@pytest.mark.parametrize(
    "text",
    [
        "keys: {a: {secret: 'CANARY with blanks'}}",
        "keys: {a: {secret_sha256: CANARY}}",
        "keys: {a: {secrt: CANARY}}",
        "keys: {a: {secret: CANARY}, b: {secret: CANARY}}",
        "keys: {a: CANARY}",
        "upstreams: {v: {base_url: 'http://user:CANARY@h/v1', api_key: k}}",
        "upstreams: {v: {base_url: 'http://h', proxy: 'user:CANARY@h'}}",
        "upstreams: {v: {base_url: 'http://h', headers: {authorization: \"CANARY\\n\"}}}",
        "inflight_max: '${SECRET}'",
        "log: {format: '${SECRET}'}",
        "listen: '${SECRET}'",
    ],
)
def test_no_message_quotes_a_secret(tmp_path: Path, text: str) -> None:
    assert "CANARY" not in "\n".join(refused(tmp_path, text, {"SECRET": "CANARY"}))


# --- what a file may do
# -------------------------------------------------------------------------------------------------------------------------


def test_variables_are_filled_in_after_parsing(tmp_path: Path) -> None:
    text = (
        USABLE
        + """
support: "${WHO}"
after_client_left: {max: "${READ_ON:-7}"}
teams: {t: {labels: {empty: "${EMPTY:-other}", unset: "${UNSET:-}", literal: "$${HOME}", two: "${WHO}-${WHO}"}}}
"""
    )
    settings = loaded(tmp_path, text, {"WHO": "a: {b: c}", "EMPTY": ""}).settings
    assert settings.support == "a: {b: c}"
    assert settings.after_client_left.max == 7
    assert settings.teams["t"].labels == {
        "empty": "other",
        "unset": "",
        "literal": "${HOME}",
        "two": "a: {b: c}-a: {b: c}",
    }


def test_an_upstream_that_lacks_a_variable_is_left_out_while_nothing_routes_to_it(
    tmp_path: Path,
) -> None:
    text = USABLE.replace(
        "upstreams: {", 'upstreams: {spare: {base_url: "${SPARE_URL}", api_key: "${SPARE_KEY}"}, '
    )
    result = loaded(tmp_path, text)
    assert set(result.settings.upstreams) == {"vendor"}
    assert [warning for warning in result.warnings if "upstreams.spare is left out" in warning]
    messages = refused(tmp_path, text.replace('"*", upstream: vendor', '"*", upstream: spare'))
    assert [message.split(": ")[1] for message in messages] == [
        "upstreams.spare.base_url",
        "upstreams.spare.api_key",
    ]


def test_secrets_from_files(tmp_path: Path) -> None:
    (tmp_path / "vendor.key").write_text("sk-from-file\n")
    (tmp_path / "alice.key").write_text("sk-alice\r\n")
    text = """
upstreams: {v: {base_url: http://h, api_key_file: vendor.key}}
routes: [{model: "*", upstream: v}]
keys: {alice: {secret_file: alice.key}}
"""
    settings = loaded(tmp_path, text).settings
    assert settings.upstreams["v"].api_key == "sk-from-file"
    assert settings.keys["alice"].secret == ""
    assert settings.keys["alice"].secret_sha256 == hashlib.sha256(b"sk-alice").hexdigest()
    assert "sk-from-file" not in repr(settings)


def test_included_files_add_teams_keys_and_prices_and_nothing_else(tmp_path: Path) -> None:
    teams = tmp_path / "teams.d"
    teams.mkdir()
    (teams / "a.yaml").write_text("teams: {red: {}}\nkeys: {ann: {team: red, secret: sk-ann}}\n")
    (teams / "b.yaml").write_text("teams: {blue: {}}\nkeys:\n")
    settings = loaded(tmp_path, USABLE + "include: ['teams.d/*.yaml', 'more.d/*.yaml']\n").settings
    assert set(settings.teams) == {"red", "blue"}
    assert set(settings.keys) == {"alice", "ann"}
    (teams / "c.yaml").write_text("teams:\n  red: {}\nlisten: 0.0.0.0:80\nkeys: {al: {tem: x}}\n")
    assert refused(tmp_path, USABLE + "include: ['teams.d/*.yaml']\n") == [
        "teams.d/c.yaml:2: teams.red: duplicate key, first at teams.d/a.yaml:1; keep one of them",
        "teams.d/c.yaml:3: listen: an included file holds only teams, keys and prices (the nearest is teams); move it to the main file",
        "teams.d/c.yaml:4: keys.al.tem: unknown key; the nearest known one is team (known here: team, role, secret, secret_sha256, models, expires, labels, limits, limits_add, secret_file)",
    ]


def test_a_pattern_that_names_no_file_is_told_and_a_file_that_is_not_there_is_a_mistake(
    tmp_path: Path,
) -> None:
    assert (
        "include[0]: no file is named like more.d/*.yaml"
        in loaded(tmp_path, USABLE + "include: ['more.d/*.yaml']\n").warnings
    )
    assert (
        "there is no file more.yaml beside the config"
        in refused(tmp_path, USABLE + "include: [more.yaml]\n")[0]
    )


def test_a_variable_without_its_braces_is_told_where_a_secret_belongs(tmp_path: Path) -> None:
    config = "upstreams: {v: {base_url: 'http://h', api_key: $VENDOR_KEY}}\nroutes: [{model: '*', upstream: v}]\nkeys: {a: {secret: $A_KEY}, b: {secret: os.environ/B_KEY}}\n"
    told = [text for text in loaded(tmp_path, config).warnings if "itself" in text]
    assert told == [
        'upstreams.v.api_key is the text $VENDOR_KEY itself: to take it from the environment write "${VENDOR_KEY}"',
        'keys.a.secret is the text $A_KEY itself: to take it from the environment write "${A_KEY}"',
        'keys.b.secret is the text os.environ/B_KEY itself (LiteLLM\'s syntax): to take it from the environment write "${B_KEY}"',
    ]
    with pytest.raises(
        ConfigError,
        match=r'admin.tokens.o.token: is the text \$OPS itself: to take it from the environment write "\$\{OPS\}"',
    ):
        loaded(tmp_path, config + "admin: {tokens: {o: {token: $OPS}}}\n")


def test_included_prices_come_behind_those_of_the_main_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("prices:\n  - {model: b, input: '1'}\n")
    (tmp_path / "b.yaml").write_text("prices:\n")
    include = "include: [a.yaml, b.yaml]\n"
    assert [price.model for price in loaded(tmp_path, USABLE + include).settings.prices] == ["b"]
    assert [
        price.model
        for price in loaded(
            tmp_path, USABLE + include + "prices: [{model: a, input: '1'}]"
        ).settings.prices
    ] == ["a", "b"]
    (tmp_path / "b.yaml").write_text(
        "\nprices:\n  - {model: b, input: '2'}\n  - {model: c, input: 2.5}\n"
    )
    first, second = refused(tmp_path, USABLE + include)
    assert first.startswith(
        "b.yaml:3: prices[1]: prices[0] is for the same requests (b), and nothing says which price applies"
    ) and second.startswith("b.yaml:4: prices[2].input: 2.5 is a YAML float")
    (tmp_path / "b.yaml").write_text("prices: {model: b}\n")
    assert refused(tmp_path, USABLE + include) == [
        "b.yaml:1: prices: expected a list; write one `- {model: …}` a line"
    ]


def test_blocks_with_every_line_commented_out_keep_their_defaults(tmp_path: Path) -> None:
    settings = loaded(tmp_path, USABLE + "timeouts:\nteams:\nlimits:\nmetrics:\n").settings
    assert settings.timeouts == Settings().timeouts
    assert settings.metrics == Settings().metrics


def test_words_stay_words(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        USABLE
        + "privacy: {end_user: off}\nteams: {no: {labels: {zip: 01234, at: 12:30:45, day: 2026-01-01, answer: yes}}, 123: {}}\n",
    ).settings
    assert settings.privacy.end_user == "off"
    assert settings.teams["no"].labels == {
        "zip": "01234",
        "at": "12:30:45",
        "day": "2026-01-01",
        "answer": "yes",
    }
    assert "123" in settings.teams


def test_paths_are_absolute(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(CERTIFICATE)
    text = USABLE.replace("api_key: sk-vendor", "api_key: sk-vendor, ca_file: ca.pem")
    settings = loaded(tmp_path, text + "data_dir: data\nledger: {key_file: k}\n").settings
    assert (settings.data_dir, settings.ledger.key_file) == (
        tmp_path / "data",
        tmp_path / "data" / "k",
    )
    assert settings.upstreams["vendor"].ca_file == tmp_path / "ca.pem"
    assert loaded(tmp_path, USABLE + "data_dir: /elsewhere\n").settings.data_dir == Path(
        "/elsewhere"
    )


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (None, "cannot be read: No such file"),
        (b"support: \xff\n", "not text in UTF-8 (byte 9)"),
        (b"#" * (8 * 2**20 + 1), "larger than"),
        (b"", "upstreams: none"),
    ],
)
def test_files_that_are_no_config(tmp_path: Path, content: bytes | None, fragment: str) -> None:
    path = tmp_path / "config.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=re.escape(fragment)):
        load(path, {})


def test_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    assert loaded(tmp_path, "\ufeff" + USABLE.lstrip()).settings.upstreams


def test_where_a_config_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ConfigError, match=r"looked for config.yaml and /etc/tollkeeper/config.yaml"
    ):
        find(None, {})
    Path("config.yaml").write_text(USABLE)
    assert find(None, {}) == Path("config.yaml")
    assert find(None, {"TOLLKEEPER_CONFIG": "other.yaml"}) == Path("other.yaml")
    assert find(Path("mine.yaml"), {"TOLLKEEPER_CONFIG": "other.yaml"}) == Path("mine.yaml")
    assert load(None, {}).settings.data_dir == tmp_path / "var"


def test_without_a_file_everything_is_forwarded_to_one_upstream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = forward_only("https://api.example.com/v1/", {})
    ((name, upstream),) = result.settings.upstreams.items()
    assert (name, upstream.base_url, upstream.auth, upstream.api_key) == (
        "api.example.com",
        "https://api.example.com/v1",
        "forward",
        "",
    )
    assert upstream.apis == APIS, "a path that is refused here could be asked of nobody else"
    assert [(route.model, route.upstream) for route in result.settings.routes] == [("*", name)]
    assert (result.path, result.settings.data_dir, result.warnings) == (None, tmp_path / "var", ())
    assert forward_only("http://[::1]:8000/v1", {}).settings.upstreams
    with pytest.raises(ConfigError, match="--upstream: expected http"):
        forward_only("api.example.com", {})


def test_without_a_file_the_addresses_can_be_chosen() -> None:
    settings = forward_only(
        "https://api.example.com/v1", {}, listen="127.0.0.1:1", metrics_listen="127.0.0.1:2"
    ).settings
    assert (settings.listen, settings.metrics.listen) == ("127.0.0.1:1", "127.0.0.1:2")


@pytest.mark.parametrize("endpoint", ["/chat/completions", "/completions", "/embeddings/"])
def test_a_base_url_is_not_an_endpoint(endpoint: str) -> None:
    with pytest.raises(ConfigError, match=r"https://h/v1$"):
        forward_only(f"https://h/v1{endpoint}", {})
