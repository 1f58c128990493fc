"""`transformers serve` over a model of a few kilobytes: `python tiny_transformers.py DIRECTORY`
makes the model there and becomes the server.

Runs in an environment of its own. The weights are random, so the answers are noise; the server, its
streams and its counts are real.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEMPLATE = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}assistant:"


def make_model(directory: Path) -> None:
    """One transformer block, a vocabulary of single bytes."""
    vocabulary = {
        token: number
        for number, token in enumerate(
            ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
        )
    }
    tokens = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokens.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokens, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(directory)
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
    }
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(vocabulary), bos_token_id=0, eos_token_id=1, pad_token_id=1, **sizes
        )
    )
    model.save_pretrained(directory)


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    make_model(Path("tiny"))
    command = str(Path(sys.executable).parent / "transformers")
    os.execve(
        command,
        [command, "serve", "tiny", "--host", "127.0.0.1", "--port", "0", "--device", "cpu"],
        os.environ | {"HF_HUB_OFFLINE": "1"},
    )
