"""How much memory and time a stage of training will take, before it is started."""
