"""Set up everything that the project needs on this machine, step by step, each step once.

`python3 -m tools.bootstrap setup` (that is `make setup`) needs nothing but Python 3.10: this
package imports the standard library only. Modules, in the order in which they matter:

- `layout`: where everything goes, and which ROS 2 it is for;
- `steps`: what a step is, and how one that is done is known;
- `plan`: the steps in their order;
- `interpreter`, `system_packages`, `python_packages`, `llama_wheel`, `workspace`: what the steps
  do;
- `environment`: the variables with which ROS processes run.
"""
