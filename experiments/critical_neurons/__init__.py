"""Critical neurons by mixed-integer programs (ElAraby et al. 2023)."""
