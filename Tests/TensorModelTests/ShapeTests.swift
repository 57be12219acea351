import TensorModel
import Testing

/// Shapes and checked arithmetic.
@Suite struct ShapeTests {
    @Test func counts() throws {
        #expect(try #require(Shape([])).elementCount == 1)
        #expect(try #require(Shape([])).description == "scalar")
        #expect(try #require(Shape([2, 3])).elementCount == 6)
        #expect(try #require(Shape([2, 3])).description == "2x3")
        #expect(try #require(Shape([0, .max])).elementCount == 0)
        #expect(try #require(Shape([2, 0, 3])).rows == 0)
        #expect(try #require(Shape([2, 3, 4])).rows == 6)
        #expect(try #require(Shape([.max])).elementCount == .max)
    }

    @Test(arguments: [[-1], [1 << 32, 1 << 31], [.max, 2], [0, .max, .max], [.max, .max, 0], [Int.min], [0, -1]])
    func overflow(_ dimensions: [Int]) { #expect(Shape(dimensions) == nil) }

    @Test func checkedSteps() {
        #expect(Checked.add(.max, 0) == .max)
        #expect(Checked.add(.max, 1) == nil)
        #expect(Checked.multiply(1 << 32, 1 << 32) == nil)
        #expect(Checked.roundUp(9, to: 8) == 16)
        #expect(Checked.roundUp(.max, to: 8) == nil)
        #expect(ByteRange(start: 2, end: 1) == nil)
        #expect(ByteRange(start: .max, count: 1) == nil)
        #expect(ByteRange(start: .max, count: 0)?.count == 0)
    }
}
