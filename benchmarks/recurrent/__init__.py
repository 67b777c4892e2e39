"""How the error of recurrent networks grows over a sequence: released networks, real events."""
