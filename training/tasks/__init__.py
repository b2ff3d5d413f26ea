"""What can be trained: each file has the data, the network and the loss of one kind of training."""
