// Names of the tags of a beat and of the modes of modules.
//
// Constants alone, always by their whole name: yosys reads no `import`, and Icarus Verilog 11 no
// structure of a package. So tags are a vector, and `tag_e` says which bit is which.
package fxp_pkg;
  // Bits of the tags that travel beside every beat.
  typedef enum int {
    Valid       = 0,  // There is a beat.
    Real        = 1,  // It is a pixel of a frame, not a beat that flushes.
    FirstRow    = 2,
    LastRow     = 3,
    FirstColumn = 4,
    LastColumn  = 5
  } tag_e;

  typedef enum int {
    Floor      = 0,
    ToZero     = 1,
    HalfUp     = 2,
    HalfDown   = 3,
    HalfAway   = 4,
    HalfToZero = 5,
    HalfEven   = 6
  } rounding_e;

  typedef enum int {
    Saturate          = 0,
    SaturateSymmetric = 1,
    SaturateToZero    = 2,
    Wrap              = 3,
    WrapSignMagnitude = 4,
    NoOverflow        = 5   // It is proved that there is none.
  } overflow_e;

  // What lies outside of the frame.
  typedef enum int {
    Constant  = 0,
    Replicate = 1,  // The nearest pixel.
    Reflect   = 2,  // Mirrored without the edge.
    Symmetric = 3   // Mirrored with the edge.
  } border_e;
endpackage
