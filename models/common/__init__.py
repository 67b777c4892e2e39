"""What every system of `fxp.models` is built from; a system adds its network, data and score.

``settings`` (options of a training, written once), ``recipe`` and ``trainer`` (a training),
``run`` (its files and command), ``data`` (folders and patches), ``weights`` and ``shipped`` (files
by name), ``ship`` (a trained network becomes a fixed-point model), ``pixels`` (whole images through
the engine), ``photographs`` (RGB to RGB of any size), ``borders`` (what lies beyond an image),
``pairs`` (files of pairs), ``adversarial`` (a discriminator beside the network), ``media`` (files,
folders, video and pipes), ``measure`` (scores), ``compare`` (methods under several conditions, and
their table). ``docs/adding-a-system.md`` shows them at work.
"""
