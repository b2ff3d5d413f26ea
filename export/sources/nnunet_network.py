"""The networks of nnU-Net v2, built by its own library from plans; only names we know are looked up."""

from __future__ import annotations

from typing import Any

from torch import nn

from runtime.errors import BundleError

__all__ = ["build_network"]

_MODULES: dict[str, type[nn.Module]] = {
    **{f"torch.nn.modules.conv.Conv{n}d": kind for n, kind in ((2, nn.Conv2d), (3, nn.Conv3d))},
    "torch.nn.modules.instancenorm.InstanceNorm2d": nn.InstanceNorm2d,
    "torch.nn.modules.instancenorm.InstanceNorm3d": nn.InstanceNorm3d,
    "torch.nn.modules.batchnorm.BatchNorm2d": nn.BatchNorm2d,
    "torch.nn.modules.batchnorm.BatchNorm3d": nn.BatchNorm3d,
    "torch.nn.LeakyReLU": nn.LeakyReLU,
    "torch.nn.modules.activation.LeakyReLU": nn.LeakyReLU,
    "torch.nn.ReLU": nn.ReLU,
    "torch.nn.modules.activation.ReLU": nn.ReLU,
}
_NETWORKS = ("PlainConvUNet", "ResidualEncoderUNet")
_HOME = "dynamic_network_architectures.architectures."


def build_network(configuration: dict[str, Any], channels: int, heads: int) -> nn.Module:
    """Build what a configuration describes, with random weights and without deep supervision.

    Args:
        configuration: Of plans; those of before nnU-Net 2.4 describe the network in other words.
        channels: Of the image.
        heads: Of the answer.

    Raises:
        BundleError: It is another network, or nnU-Net's library of networks is not installed.
    """
    try:
        from dynamic_network_architectures.architectures import unet
    except ImportError:
        raise BundleError(
            "an nnU-Net needs its library of networks; pip install dynamic-network-architectures"
        ) from None
    told = configuration.get("architecture") or _before_2_4(configuration)
    path = str(told["network_class_name"])
    name = path.rpartition(".")[2]
    if name not in _NETWORKS or not path.startswith(_HOME):
        raise BundleError(f"plans.json: network {path} is not supported; {' and '.join(_NETWORKS)} are")
    arguments = dict(told["arch_kwargs"])
    for key in told["_kw_requires_import"]:
        if arguments[key] is not None:
            if arguments[key] not in _MODULES:
                raise BundleError(f"plans.json: {key} is {arguments[key]!r}, which is not supported")
            arguments[key] = _MODULES[arguments[key]]
    network: nn.Module = getattr(unet, name)(
        input_channels=channels, num_classes=heads, **arguments, deep_supervision=False
    )
    return network.eval()


def _before_2_4(old: dict[str, Any]) -> dict[str, Any]:
    """The description of a network in plans of before nnU-Net 2.4, in the words of today.

    Source:
        nnU-Net's `ConfigurationManager`.
    """
    kind, sides = old["UNet_class_name"], len(old["patch_size"])
    stages, first, most = (
        len(old["n_conv_per_stage_encoder"]),
        int(old["UNet_base_num_features"]),
        int(old["unet_max_num_features"]),
    )
    blocks = "n_conv_per_stage" if kind == "PlainConvUNet" else "n_blocks_per_stage"
    return {
        "network_class_name": f"{_HOME}unet.{kind}",
        "arch_kwargs": {
            "n_stages": stages,
            "features_per_stage": [min(first * 2**n, most) for n in range(stages)],
            "conv_op": f"torch.nn.modules.conv.Conv{sides}d",
            "kernel_sizes": old["conv_kernel_sizes"],
            "strides": old["pool_op_kernel_sizes"],
            blocks: old["n_conv_per_stage_encoder"],
            "n_conv_per_stage_decoder": old["n_conv_per_stage_decoder"],
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{sides}d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
