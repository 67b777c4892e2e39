"""The one error of the front end."""

from __future__ import annotations

from fxp.support.errors import FxpError


class FrontendError(FxpError, ValueError):
    """A model holds something that the front end cannot take.

    The message names the op, the module and the source line, and says what to do instead.

    Attributes
    ----------
    size_dependent
        Whether the same model with fixed image sizes may be accepted.
    module
        Path of the module that holds it, where the message names one; empty for the model itself.
    reason
        The message without the place.
    """

    def __init__(
        self, message: str, *, size_dependent: bool = False, module: str = "", reason: str = ""
    ) -> None:
        super().__init__(message)
        self.size_dependent = size_dependent
        self.module = module
        self.reason = reason or message
