"""Is this text memorized? What a model knows of texts, against texts that it has not seen."""
