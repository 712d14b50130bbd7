"""What a TF1 `Saver` checkpoint and the graph beside it tell."""
