"""A plain twin of the released PoseAug's generator/discriminator iteration: same work, same order of operations.

Written for comparison, in the structure that code has: a module for each of the five parts, each of which derives the
bones anew and masks the whole matrix; constant matrices repeated for every sample; adversarial terms on real data in
the generator's loss; dropout and Adam as PyTorch gives them by default; an item-by-item history pool in numpy on the
host; a scalar taken to the host for every logged value; the augmented poses copied to the host. As there, networks
that are not stepped do not compute weight gradients. Human3.6M's 16 joints, (x, y), the simple baseline.
"""

from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dg.methods.discriminators import part_bones
from dg.pose.skeleton import H36M_16

BONES = H36M_16.bone_matrix().T
PATHS = H36M_16.path_matrix().T
SHARED = [0, 1, 2, 0, 1, 2, 3, 4, 5, 6, 7, 8, 6, 7, 8]
WEIGHTS = [1, 5, 2, 1, 5, 2, 1, 1, 1, 1, 5, 2, 1, 5, 2, 1]
GROUPS = ([1, 4, 10, 13], [2, 5, 9, 11, 14], [3, 6, 12, 15])


def bones_of(joints: Tensor) -> Tensor:
    repeated = BONES.to(joints.device).repeat(len(joints), 1, 1)
    return torch.matmul(joints.permute(0, 2, 1).contiguous(), repeated).permute(0, 2, 1).contiguous()


def joints_of(bones: Tensor) -> Tensor:
    repeated = PATHS.to(bones.device).repeat(len(bones), 1, 1)
    return torch.matmul(bones.permute(0, 2, 1).contiguous(), repeated).permute(0, 2, 1).contiguous()


def lengths_of(joints: Tensor) -> Tensor:
    return bones_of(joints).norm(dim=2, keepdim=True)


def units_of(joints: Tensor) -> Tensor:
    return bones_of(joints) / lengths_of(joints)


def project(joints: Tensor, camera: Tensor) -> Tensor:
    """camera: f (2), c (2), k (3), p (2) for each row."""
    f, c, k, p = (part[:, None] for part in camera.split([2, 2, 3, 2], -1))
    ratio = torch.clamp(joints[..., :2] / joints[..., 2:], -1, 1)
    r2 = (ratio**2).sum(-1, keepdim=True)
    radial = 1 + (k * torch.cat([r2, r2**2, r2**3], -1)).sum(-1, keepdim=True)
    tangential = (p * ratio).sum(-1, keepdim=True)
    return f * (ratio * (radial + tangential) + p * r2) + c


def dense(inputs: int, outputs: int, activation: nn.Module, dropout: float = 0.0) -> list[nn.Module]:
    layers = [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), activation]
    return [*layers, nn.Dropout(dropout)] if dropout else layers


def trunk(inputs: int, outputs: int) -> nn.Sequential:
    hidden = [layer for _ in range(4) for layer in dense(256, 256, nn.LeakyReLU())]
    return nn.Sequential(*dense(inputs, 256, nn.LeakyReLU()), *hidden, nn.Linear(256, outputs))


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.angle, self.length = trunk(96, 45), trunk(111, 9)
        self.rotation, self.translation = trunk(96, 3), trunk(96, 3)

    def forward(self, joints: Tensor) -> SimpleNamespace:
        rows, root = len(joints), joints[:, :1]
        centred = joints - root
        flat = centred.reshape(rows, -1)
        units, lengths = units_of(centred), lengths_of(centred)
        residual = self.angle(torch.cat([flat, torch.randn(rows, 48, device=joints.device)], -1)).view(rows, 15, 3)
        moved = F.normalize(units - residual, dim=2)
        keep = torch.zeros(rows, 15, 1, device=joints.device)
        keep[:, 6:8] = 1
        moved = moved * (1 - keep) + units * keep
        change = 1 - (moved * units).sum(-1)
        angled = joints_of(moved * lengths) + root
        raw = self.length(
            torch.cat([flat, lengths_of(centred).squeeze(2), torch.randn(rows, 48, device=joints.device)], -1)
        )
        mask = torch.ones(rows, 9, device=joints.device)
        mask[:, 4] = 0
        ratio = 0.2 * torch.tanh(raw * mask)
        scaled = joints_of(units_of(angled - root) * (lengths + lengths * ratio[:, SHARED].unsqueeze(2))) + root
        axis = 3.1415 * torch.tanh(self.rotation(torch.cat([flat, torch.randn(rows, 48, device=joints.device)], -1)))
        place = self.translation(torch.cat([flat, torch.randn(rows, 48, device=joints.device)], -1)).clone()
        place = torch.cat([place[:, :2], place[:, 2:] ** 2], -1).unsqueeze(1)
        angle = axis.norm(dim=1, keepdim=True).clamp_min(1e-8).unsqueeze(2)
        x, y, z = (axis / angle.squeeze(2)).unbind(1)
        zero = torch.zeros_like(x)
        cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).view(rows, 3, 3)
        turn = torch.eye(3, device=joints.device) + angle.sin() * cross + (1 - angle.cos()) * torch.matmul(cross, cross)
        rigid = torch.matmul(turn, (scaled - scaled[:, :1]).permute(0, 2, 1)).permute(0, 2, 1) + place
        return SimpleNamespace(angled=angled, change=change, scaled=scaled, ratio=ratio, rigid=rigid)


class Part(nn.Module):
    def __init__(self, bones: tuple[int, ...]):
        super().__init__()
        self.bones = list(bones)
        self.layers = nn.ModuleList([nn.Linear(225, 256), nn.Linear(256, 256), nn.Linear(256, 256)])
        self.hidden, self.score = nn.Linear(256, 100), nn.Linear(100, 1)

    def forward(self, joints: Tensor) -> Tensor:
        bones = bones_of(joints)
        mask = torch.zeros_like(bones)
        mask[:, self.bones] = 1
        bones = bones * mask
        x = torch.matmul(bones, bones.permute(0, 2, 1).contiguous()).view(len(joints), -1)
        first = F.leaky_relu(self.layers[0](x))
        third = self.layers[2](F.leaky_relu(self.layers[1](first))) + first
        return self.score(F.leaky_relu(self.hidden(third)))


class Discriminator3D(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList(Part(bones) for bones in part_bones(H36M_16))

    def forward(self, joints: Tensor) -> Tensor:
        normalised = joints_of(units_of(joints - joints[:, :1]))
        return torch.cat([part(normalised) for part in self.parts], 1)


class Discriminator2D(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(32, 100), *[nn.Linear(100, 100) for _ in range(4)], nn.Linear(100, 1)])

    def forward(self, joints_2d: Tensor) -> Tensor:
        first = F.leaky_relu(self.layers[0](joints_2d.reshape(len(joints_2d), -1)))
        third = F.leaky_relu(self.layers[2](F.leaky_relu(self.layers[1](first))) + first)
        return self.layers[5](F.leaky_relu(self.layers[4](self.layers[3](third))))


class Lifter(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(*dense(32, 1024, nn.ReLU(), 0.25))
        pair = [[*dense(1024, 1024, nn.ReLU(), 0.25), *dense(1024, 1024, nn.ReLU(), 0.25)] for _ in range(2)]
        self.blocks = nn.ModuleList(nn.Sequential(*layers) for layers in pair)
        self.last = nn.Linear(1024, 45)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        x = self.last(x)
        return torch.cat([x.new_zeros(len(x), 3), x], 1)


class HostPool:
    def __init__(self, capacity: int = 4096):
        self.capacity, self.items, self.random = capacity, [], np.random.default_rng(0)

    def __call__(self, new: np.ndarray) -> list[np.ndarray]:
        given = []
        for item in new:
            if len(self.items) < self.capacity:
                self.items.append(item)
                given.append(item)
            elif self.random.random() > 0.5:
                place = self.random.integers(self.capacity)
                given.append(self.items[place].copy())
                self.items[place] = item
            else:
                given.append(item)
        return given


def trainable(module: nn.Module, on: bool) -> None:
    for parameter in module.parameters():
        parameter.requires_grad_(on)


class ReleasedIteration:
    """One object holds the networks, optimisers and pools; `step` is one iteration with the feedback active."""

    def __init__(self, device: torch.device | str = "cpu"):
        self.generator, self.lifter = Generator().to(device).train(), Lifter().to(device).train()
        self.discriminators = {"3d": Discriminator3D().to(device), "2d": Discriminator2D().to(device)}
        self.optimizer = torch.optim.Adam(self.generator.parameters(), lr=1e-4)
        self.optimizers = {k: torch.optim.Adam(d.parameters(), lr=1e-4) for k, d in self.discriminators.items()}
        self.pools = {"3d": HostPool(), "2d": HostPool()}
        self.iteration, self.log, self.buffer = 0, {}, []

    def step(self, joints: Tensor, camera: Tensor, real_2d: Tensor, real_3d: Tensor) -> None:
        for module in (*self.discriminators.values(), self.lifter):
            trainable(module, False)
        trainable(self.generator, True)
        self.optimizer.zero_grad()
        joints_2d = project(joints, camera)
        made = self.generator(joints)
        angled_2d, rigid_2d = project(made.angled, camera), project(made.rigid, camera)
        loss = 6 * self._adversarial("3d", joints, made.angled) + self._adversarial("2d", joints_2d, rigid_2d)
        loss = loss + 3 * self._change(made)
        loss = loss + self._feedback(joints_2d, joints, angled_2d, made.angled, rigid_2d, made.rigid)
        self.log["generator"] = loss.item()
        loss.backward()
        nn.utils.clip_grad_norm_(self.generator.parameters(), 1)
        self.optimizer.step()
        if self.iteration % 2 == 0:
            trainable(self.generator, False)
            self._discriminate("3d", real_3d, made.angled)
            self._discriminate("2d", real_2d, rigid_2d)
        inside = (rigid_2d > 1).sum((1, 2)) < 1
        self.buffer = [x.detach()[inside].cpu().numpy() for x in (made.rigid, rigid_2d, camera)]
        self.iteration += 1

    def _adversarial(self, name: str, real: Tensor, made: Tensor) -> Tensor:
        scores_real, scores_made = self.discriminators[name](real), self.discriminators[name](made)
        loss = F.mse_loss(scores_real, torch.zeros_like(scores_real))
        loss = (loss + F.mse_loss(scores_made, torch.ones_like(scores_made))) * 0.5
        for label, scores in (("real", scores_real), ("made", scores_made)):
            self.log[f"{name}/{label}"] = (np.abs(scores.detach().cpu().numpy() - 1) < 0.5).mean()
        self.log[f"{name}/adversarial"] = loss.item()
        return loss

    def _change(self, made: SimpleNamespace) -> Tensor:
        mean = made.change.mean(-1)
        angle = ((mean - 0.205) ** 2 * ((mean - 0.205).abs() > 0.165)).mean()
        length = (made.ratio**2 * (made.ratio.abs() > 0.1)).mean()
        for bone in range(15):
            degrees = torch.acos(torch.clamp(1 - made.change.detach()[:, bone], -1, 1)).mean() * 57.29
            self.log[f"bone_{bone}"] = degrees.item()
        self.log |= {"angle": angle.item(), "length": length.item(), "mean_length": made.ratio.mean().item()}
        return angle + length

    def _errors(self, joints_2d: Tensor, joints: Tensor) -> Tensor:
        predicted = self.lifter(joints_2d.reshape(len(joints), -1)).view(len(joints), -1, 3)
        errors = (predicted - (joints - joints[:, :1])).norm(dim=-1) * torch.tensor(
            WEIGHTS, device=joints.device
        ).unsqueeze(0)
        return torch.cat([errors[:, group].mean(-1, keepdim=True) for group in GROUPS], -1)

    def _feedback(self, *pairs: Tensor) -> Tensor:
        original, angled, rigid = (self._errors(pairs[i], pairs[i + 1]) for i in (0, 2, 4))
        total = torch.zeros((), device=original.device)
        for name, errors, mu, sigma, factor in (("ba", angled, 3.0, 2.0, 0.1), ("rt", rigid, 17.0, 15.0, 0.01)):
            ratio = errors / original
            loss = ((ratio - mu) ** 2 * ((ratio - mu).abs() > sigma)).mean()
            spread = ((ratio.std() - sigma) ** 2).mean()
            self.log |= {f"{name}/mean": ratio.mean().item(), f"{name}/std": ratio.std().item()}
            self.log |= {f"{name}/loss": loss.item(), f"{name}/first": ratio[0].mean().item()}
            self.log[f"{name}/errors"] = errors.mean().item()
            total = total + 0.0 * spread + factor * loss
        self.log["original/errors"] = original.mean().item()
        return total

    def _discriminate(self, name: str, real: Tensor, made: Tensor) -> None:
        module, optimizer = self.discriminators[name], self.optimizers[name]
        trainable(module, True)
        optimizer.zero_grad()
        pooled = torch.tensor(np.array(self.pools[name](made.detach().cpu().numpy()))).to(made.device)
        scores_real, scores_made = module(real.clone()), module(pooled)
        loss = F.mse_loss(scores_real, torch.ones_like(scores_real))
        loss = 0.5 * (loss + F.mse_loss(scores_made, torch.zeros_like(scores_made)))
        for label, scores in (("real", scores_real), ("made", scores_made)):
            self.log[f"{name}/step/{label}"] = (np.abs(scores.detach().cpu().numpy() - 1) < 0.5).mean()
        self.log[f"{name}/step"] = loss.item()
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1)
        optimizer.step()
