"""PSNR and SSIM of the super-resolution networks: the paper's table, compressed inputs, bit widths.

``python -m benchmarks.psnr --data DIR`` measures and publishes; ``--quick`` tries the script on
small pieces of photographs that ship with scikit-image.
"""
