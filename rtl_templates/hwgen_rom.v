// A read-only memory initialized from a file of hexadecimal words; infers block RAM.
module hwgen_rom #(
    parameter WIDTH = 8,
    parameter DEPTH = 256,
    parameter ABITS = 8,
    parameter FILE = ""
) (
    input wire clk,
    input wire ce,
    input wire [ABITS-1:0] address,
    output reg [WIDTH-1:0] data
);
  (* rom_style = "block" *) reg [WIDTH-1:0] memory [0:DEPTH-1];
  // Tools read the module before they know its parameters.
  generate
    if (FILE != "") begin : load
      initial $readmemh(FILE, memory);
    end
  endgenerate
  always @(posedge clk) if (ce) data <= memory[address];
endmodule
