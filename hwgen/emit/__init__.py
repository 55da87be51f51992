"""From a graph to Verilog and the folder that holds it."""
