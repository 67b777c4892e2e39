"""Every published figure has its script here, and the script writes the table the README shows."""
