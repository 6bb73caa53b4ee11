"""The operations a generator spends its time in; faster kernels take their places here."""

from styleclip_cli.nets.ops.reference import channels_last, low_pass, modulated_conv, upsample_rgb

__all__ = ["channels_last", "low_pass", "modulated_conv", "upsample_rgb"]
