// @FROM@ MHz to @TO@ MHz by the PLL of the iCE40 (Lattice FPGA-TN-02052).
module hwgen_clock(input i, output o, output locked);
  SB_PLL40_PAD #(
    .FEEDBACK_PATH("SIMPLE"), .DIVR(4'd@DIVIDE@), .DIVF(7'd@MULTIPLY@), .DIVQ(3'd@OUT@),
    .FILTER_RANGE(3'd@FILTER@)
  ) pll (.PACKAGEPIN(i), .PLLOUTGLOBAL(o), .LOCK(locked), .RESETB(1'b1), .BYPASS(1'b0));
endmodule
