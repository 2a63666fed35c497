"""Transformer pieces of PoseFormer and MotionBERT: self-attention (Vaswani et al., "Attention is all you need", NeurIPS
2017), its blocks, and drop path (Huang et al., "Deep networks with stochastic depth", ECCV 2016).

Parameters carry the names that vision transformers share (`attn.qkv`, `attn.proj`, `mlp.fc1`, `mlp.fc2`).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from lifters.base import Count, Positive, Share
from lifters.root import Root

# The most rows that a CUDA kernel of PyTorch's attention starts with (pytorch issue 142228).
ROWS_AT_ONCE = 65_535
Tokens = Float[Tensor, "*batch tokens width"]
Heads = Float[Tensor, "rows heads tokens head_width"]


@dataclass(frozen=True)
class TransformerOptions:
    """What both lifters let one choose.

    frames: of a window. width: of a joint's token. depth: blocks in a row. mlp_ratio: hidden width over width.
    drop_path: chance that the last block's branches are left out of a training row; it rises from 0 with depth.
    root: `zero` (set to zero, not learned) or `predicted` (the published form).
    """

    frames: Count
    width: Count
    depth: Count
    heads: Count
    mlp_ratio: Positive
    drop_path: Share
    root: Root

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got width={self.width}, heads={self.heads}")

    def drop_path_schedule(self) -> list[float]:
        """Return each block's chance: it rises in equal steps from 0 at the first block to `drop_path` at the last."""
        return [self.drop_path * block / max(self.depth - 1, 1) for block in range(self.depth)]


class DropPath(nn.Module):
    """x + branch, where a training row leaves its branch out with chance `p` and has it divided by 1 - p otherwise."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Float[Tensor, "rows *tokens width"], branch: Float[Tensor, "rows *tokens width"]) -> Tensor:
        """Add the branch to `x`; in training, rows leave it out with chance `p`.

        Args:
            x: the tokens.
            branch: what is added to them, of the same shape.

        Returns:
            The sum; in training the branches that are kept are divided by 1 - p.
        """
        if not self.training or self.p == 0:
            return x + branch
        keep = x.new_empty([len(x)] + [1] * (x.ndim - 1)).bernoulli_(1 - self.p).div_(1 - self.p)
        return torch.addcmul(x, branch, keep)

    def extra_repr(self) -> str:
        """Show the chance in the module's printed form."""
        return f"p={self.p}"


class SelfAttention(nn.Module):
    """Multi-head self-attention over the second axis from the end; leading axes are independent.

    PyTorch's fused kernels have no second derivatives; where these are needed, call it inside
    `torch.nn.attention.sdpa_kernel(SDPBackend.MATH)`.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tokens) -> Tokens:
        """Let the tokens attend to each other; the shape stays the same."""
        if x.shape[-2] == 1:
            return self.proj(self._values(x))
        qkv = self.qkv(x.flatten(0, -3)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attend = F.scaled_dot_product_attention if _fused_is_faster(x.device) else _attend
        mixed = [attend(*part.unbind(0)) for part in qkv.split(ROWS_AT_ONCE, dim=1)]
        rows = mixed[0] if len(mixed) == 1 else torch.cat(mixed)
        return self.proj(rows.transpose(1, 2).reshape(x.shape))

    def _values(self, x: Tokens) -> Tokens:
        # A lone token attends to itself with weight 1 whatever its query and key are, so these are left out; through
        # the slice their weights still get the gradient they have in the full form, zero.
        width = x.shape[-1]
        return F.linear(x, self.qkv.weight[2 * width :], self.qkv.bias[2 * width :])


def _fused_is_faster(device: torch.device) -> bool:
    # The fused kernel makes a small product for each row and head. On the CPU this setting sends products to oneDNN
    # (dg.methods.fast_matmul), whose start costs several times more than the plain form as a whole.
    matmul = getattr(torch.backends.mkldnn, "matmul", None)
    return device.type != "cpu" or getattr(matmul, "fp32_precision", None) != "bf16"


def _attend(queries: Heads, keys: Heads, values: Heads) -> Heads:
    scores = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(-1, -2)
    return scores.softmax(-1) @ values


class MLP(nn.Module):
    """Two linear layers with an activation between them, GELU unless told."""

    def __init__(self, width: int, ratio: float, activation: type[nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, int(width * ratio))
        self.activation = activation()
        self.fc2 = nn.Linear(self.fc1.out_features, width)

    def forward(self, x: Tokens) -> Tokens:
        """Map each token by itself; the shape stays the same."""
        return self.fc2(self.activation(self.fc1(x)))


class PreNormBlock(nn.Module):
    """Attention, then the MLP, each on the normalised tokens and added to them (PoseFormer, MotionBERT)."""

    def __init__(self, width: int, heads: int, mlp_ratio: float, drop_path: float, norm_eps: float = 1e-6) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.attn = SelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = MLP(width, mlp_ratio)
        self.add = DropPath(drop_path)

    def forward(self, x: Tokens) -> Tokens:
        """Add attention and then the MLP to the tokens; the shape stays the same."""
        x = self.add(x, self.attn(self.norm1(x)))
        return self.add(x, self.mlp(self.norm2(x)))


class PostNormBlock(nn.Module):
    """The same with the norms after the sums, ReLU, and drop path over the block as a whole (AugLift's PoseFormer).

    Its norms have names of their own, so that pre-norm checkpoints do not load into it.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float, drop_path: float) -> None:
        super().__init__()
        self.attn = SelfAttention(width, heads)
        self.attn_norm = nn.LayerNorm(width)
        self.mlp = MLP(width, mlp_ratio, nn.ReLU)
        self.mlp_norm = nn.LayerNorm(width)
        self.add = DropPath(drop_path)

    def forward(self, x: Tokens) -> Tokens:
        """Add attention and then the MLP, with a layer norm after each sum; the shape stays the same."""
        y = self.attn_norm(x + self.attn(x))
        y = self.mlp_norm(y + self.mlp(y))
        return self.add(x, y - x) if self.training and self.add.p else y


BLOCKS = {"pre": PreNormBlock, "post": PostNormBlock}
