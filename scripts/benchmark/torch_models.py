"""PyTorch's nets of the workloads, with the same names of parameters as ours."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from benchmark.workloads import learning_rate


class BagOfWords(nn.Module):
    def __init__(self, vocab: int, dim: int, hidden: int) -> None:
        super().__init__()
        self.embed = nn.EmbeddingBag(vocab, dim, mode="mean")
        self.hidden, self.out = nn.Linear(dim, hidden), nn.Linear(hidden, 1)

    def forward(self, words: Any, target: Any) -> Any:
        logits = self.out(functional.relu(self.hidden(self.embed(words))))[:, 0]
        return functional.binary_cross_entropy_with_logits(logits, target)


class Forecaster(nn.Module):
    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.lstm, self.out = nn.LSTM(features, hidden, batch_first=True), nn.Linear(hidden, 1)

    def forward(self, series: Any, target: Any) -> Any:
        _, (h, _) = self.lstm(series)
        return functional.mse_loss(self.out(h[-1])[:, 0], target)


class MLP(nn.Sequential):
    def __init__(self, sizes: tuple[int, ...]) -> None:
        steps: list[nn.Module] = []
        for features_in, features_out in zip(sizes[:-1], sizes[1:]):
            steps += [nn.Linear(features_in, features_out), nn.ReLU()]
        super().__init__(*steps[:-1])

    def forward(self, x: Any, target: Any) -> Any:
        return functional.cross_entropy(super().forward(x), target)


class Encoder(nn.Module):
    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__()
        dim = spec["dim"]
        self.tokens, self.positions = nn.Embedding(spec["vocab"], dim), nn.Embedding(spec["time"], dim)
        layer = nn.TransformerEncoderLayer(dim, spec["heads"], spec["ff"], spec["dropout"], activation="gelu",
                                           batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, spec["layers"], enable_nested_tensor=False)
        self.out = nn.Linear(dim, 2)

    def forward(self, words: Any, target: Any = None) -> Any:
        h = self.encoder(self.tokens(words) + self.positions.weight[:words.shape[1]])
        logits = self.out(h.mean(1))
        return logits if target is None else functional.cross_entropy(logits, target)


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.p = heads, dropout
        self.in_proj, self.out_proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Any) -> Any:
        b, t, c = x.shape
        q, k, v = self.in_proj(x).view(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        p = self.p if self.training else 0.0
        heads = functional.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=p)
        return self.out_proj(heads.transpose(1, 2).reshape(b, t, c))


class Block(nn.Module):
    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention, self.dropout = Attention(dim, heads, dropout), nn.Dropout(dropout)
        self.up, self.down = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x: Any) -> Any:
        x = x + self.dropout(self.attention(self.norm1(x)))
        return x + self.dropout(self.down(functional.gelu(self.up(self.norm2(x)))))


class GPT(nn.Module):
    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__()
        dim = spec["dim"]
        self.tokens, self.positions = nn.Embedding(spec["vocab"], dim), nn.Embedding(spec["time"], dim)
        self.dropout = nn.Dropout(spec["dropout"])
        self.blocks = nn.Sequential(*(Block(dim, spec["heads"], spec["dropout"]) for _ in range(spec["layers"])))
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, spec["vocab"], bias=False)

    def forward(self, words: Any, target: Any) -> Any:
        h = self.dropout(self.tokens(words) + self.positions.weight[:words.shape[1]])
        logits = self.head(self.norm(self.blocks(h)))
        return functional.cross_entropy(logits.flatten(0, 1), target.flatten())


class SkipGram(nn.Module):
    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__()
        self.words = nn.Embedding(spec["vocab"], spec["dim"], sparse=True)
        self.contexts = nn.Embedding(spec["vocab"], spec["dim"], sparse=True)
        self.register_buffer("sign", torch.tensor([1.0] + [-1.0] * spec["negatives"]), persistent=False)

    def forward(self, words: Any, samples: Any) -> Any:
        scores = torch.einsum("bd,bkd->bk", self.words(words), self.contexts(samples))
        return -functional.logsigmoid(scores * self.sign).sum(1).mean()


def make_model(spec: dict[str, Any]) -> nn.Module:
    kind = spec["kind"]
    if kind == "mlp":
        return MLP(spec["sizes"])
    if kind == "bow":
        return BagOfWords(spec["vocab"], spec["dim"], spec["hidden"])
    if kind == "lstm":
        return Forecaster(spec["features"], spec["hidden"])
    return {"encoder": Encoder, "gpt": GPT, "skipgram": SkipGram}[kind](spec)


def make_optimizer(spec: dict[str, Any], parameters: Any, captured: bool) -> torch.optim.Optimizer:
    if spec["optimizer"] == "sgd":
        return torch.optim.SGD(parameters, lr=learning_rate(spec))
    kind = torch.optim.AdamW if spec["optimizer"] == "adamw" else torch.optim.Adam
    return kind(parameters, lr=learning_rate(spec), fused=True, capturable=captured)
