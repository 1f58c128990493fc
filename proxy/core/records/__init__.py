"""Records: how an exchange becomes one, how it is hashed, corrected and priced anew."""
