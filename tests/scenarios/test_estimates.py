"""How far estimates are off, against vocabularies that the proxy does not know: 100 answers that
state their usage, then 100 that do not.

The vendor is scripted; its counts are a real tokenizer's. The reduced run has one (cl100k, under a
name that gives nothing away), the campaign Qwen's and
Mistral's too, from the wheels that `make campaign` installs.
"""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import tiktoken

from tests.support.corpora import count
from tests.support.raw import RawClient, Visit, raw_upstream
from tests.support.running import config, running

pytestmark = pytest.mark.whole

ANSWERS = 100
PERMILLE_MAX = 25
CHINESE_WORDS = (
    "我们 今天 可以 因为 所以 但是 如果 需要 使用 系统 数据 模型 请求 回答 用户 时间 问题 方法 结果 计算 语言 中国 世界 经济 发展 技术 人工智能 学习 研究 分析 提供 服务 "
    "接口 密钥 费用 价格 每个月 之后 已经 还是 非常 重要 简单 复杂 城市 天气 公园 朋友 工作 生活 健康 教育 交通 能源 环境 历史 文化 音乐 电影 图书 老师 学生 公司 市场 "
    "投资 银行 法律 政府 安全 网络 软件 硬件 代码 测试 部署 配置 文件 目录 服务器 数据库 查询 更新 删除 插入 索引 缓存 并发 异步 线程 进程 内存 磁盘 带宽 延迟 吞吐量 的 了 在 是 和 就 都 也 很 到 说 要 去 会 着 没有 看 好 自己 这"
).split()
Tokenizer = Callable[[str], int]
Kind = Callable[[random.Random], str]


def _slices(paths: list[Path]) -> Kind:
    texts = [path.read_text(encoding="utf-8") for path in paths]

    def some(rng: random.Random) -> str:
        text = rng.choice(texts)
        start = rng.randrange(max(len(text) - 2_000, 1))
        return text[start : start + rng.randrange(100, 2_000)]

    return some


def chinese(rng: random.Random) -> str:
    return "".join(
        rng.choice(CHINESE_WORDS) + rng.choice(["", "", "", "", "，", "。", "、"])
        for _ in range(rng.randrange(30, 500))
    )


ROOT = Path(__file__).parents[2]
ENGLISH = _slices([ROOT / "README.md", ROOT / "LICENSE", *sorted((ROOT / "docs").glob("*.md"))])
CODE = _slices(sorted(Path(asyncio.__file__).parent.glob("*.py")))


def mixed(rng: random.Random) -> str:
    return rng.choice([ENGLISH, CODE, chinese])(rng)


KINDS: dict[str, Kind] = {"english": ENGLISH, "chinese": chinese, "code": CODE, "mixed": mixed}


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        missing = f"{name} is not installed: `make campaign` installs it"
        if "vocabularies" in os.environ.get("REQUIRE", "").split(","):
            pytest.fail(missing)
        pytest.skip(missing)
    return Path(spec.origin).parent


def qwen() -> Tokenizer:
    """Qwen's, a file of ranks as tiktoken has them."""
    lines = (_package("dashscope") / "resources" / "qwen.tiktoken").read_bytes().splitlines()
    ranks = {
        base64.b64decode(token): int(rank)
        for token, rank in (line.split() for line in lines if line)
    }
    pattern = r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
    encoding = tiktoken.Encoding("qwen", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    return lambda text: len(encoding.encode_ordinary(text))


def mistral() -> Tokenizer:
    """Mistral's tekken."""
    tekken = json.loads((_package("mistral_common") / "data" / "tekken_240911.json").read_bytes())
    size = tekken["config"]["default_vocab_size"] - tekken["config"]["default_num_special_tokens"]
    ranks = {
        base64.b64decode(entry["token_bytes"]): entry["rank"] for entry in tekken["vocab"][:size]
    }
    encoding = tiktoken.Encoding(
        "tekken", pat_str=tekken["config"]["pattern"], mergeable_ranks=ranks, special_tokens={}
    )
    return lambda text: len(encoding.encode_ordinary(text))


def cl100k() -> Tokenizer:
    return lambda text: count("cl100k_base", text)


async def errors(
    directory: Path, tokenizer: Tokenizer, kind: Kind, *, reasoning_percent: int = 0
) -> tuple[int, int]:
    """Input and output error in permille, of the sums over the answers that state nothing."""
    rng = random.Random(20261122)
    true_input: list[int] = []
    true_output: list[int] = []

    async def answer(visit: Visit) -> None:
        asked = json.loads(visit.body)
        text = kind(rng)
        true_input.append(tokenizer(asked["messages"][0]["content"]) + 8)
        true_output.append(tokenizer(text) * (100 + reasoning_percent) // 100)
        pieces = [text[start : start + 40] for start in range(0, len(text), 40)]
        events = [
            {"id": "c", "choices": [{"index": 0, "delta": {"content": piece}}]} for piece in pieces
        ]
        if "stream_options" in asked:
            events.append(
                {
                    "id": "c",
                    "choices": [],
                    "usage": {
                        "prompt_tokens": true_input[-1],
                        "completion_tokens": true_output[-1],
                    },
                }
            )
        await visit.stream(
            b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
            + b"data: [DONE]\n\n"
        )

    async with (
        raw_upstream(answer) as upstream,
        running(directory, config(upstream.url, estimates="counted")) as proxy,
    ):
        client = await RawClient.connect(proxy.address)
        for number in range(1 + 2 * ANSWERS):
            body: dict[str, object] = {
                "model": "unheard-of",
                "stream": True,
                "messages": [{"role": "user", "content": kind(rng)}],
            }
            if 0 < number <= ANSWERS:
                body["stream_options"] = {"include_usage": True}
            await client.post(json.dumps(body).encode())
            assert (await client.answer()).whole
            await proxy.records(1 + number)
        await client.aclose()
        rows = proxy.rows()[1 + ANSWERS :]
        assert {(row["input_source"], row["output_source"]) for row in rows} == {
            ("estimated", "estimated")
        }
        charged = [
            sum(int(str(row[name])) for row in rows) for name in ("input_tokens", "output_tokens")
        ]
        true = [sum(true_input[1 + ANSWERS :]), sum(true_output[1 + ANSWERS :])]
        return (charged[0] - true[0]) * 1000 // true[0], (charged[1] - true[1]) * 1000 // true[1]


@pytest.mark.parametrize("kind", ["code"])  # the slower kinds are the campaign's
async def test_totals_are_within_two_and_a_half_percent(tmp_path: Path, kind: str) -> None:
    found = await errors(tmp_path, cl100k(), KINDS[kind])
    print(f"estimates, cl100k, {kind}: input {found[0] / 10:+.1f} %, output {found[1] / 10:+.1f} %")
    assert max(map(abs, found)) <= PERMILLE_MAX


async def test_reasoning_that_is_not_shown_is_learned_too(tmp_path: Path) -> None:
    found = await errors(tmp_path, cl100k(), ENGLISH, reasoning_percent=150)
    assert max(map(abs, found)) <= PERMILLE_MAX


@pytest.mark.campaign
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tokenizer", [cl100k, qwen, mistral])
async def test_totals_against_other_vendors_vocabularies(
    tmp_path: Path, tokenizer: Callable[[], Tokenizer], kind: str
) -> None:
    found = await errors(tmp_path, tokenizer(), KINDS[kind])
    print(
        f"estimates, {tokenizer.__name__}, {kind}: input {found[0] / 10:+.1f} %, output {found[1] / 10:+.1f} %"
    )
    assert max(map(abs, found)) <= PERMILLE_MAX
