"""Flash to ambient: networks that remove a flash's light from a photograph.

`fxp.models.flash.networks` has the networks, `fxp.models.flash.train` their training,
`fxp.models.flash.pipeline` their use on whole photographs.
"""
