"""Flash to ambient: the network that removes a flash's light from a photograph.

`fxp.models.flash.networks` has the generator; it is not trained yet.
"""
